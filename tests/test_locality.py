"""Locality: hits as theory has them, a bounded wait for the replica that holds a key, nothing lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

import sim.kinds  # noqa: F401  (registers the kinds)
from configs.errors import ConfigError
from configs.load import parse_config
from configs.model import Config
from configs.yaml_text import parse_yaml
from executors.executor import Executor
from policies.caches import Caches
from policies.coalesce import Coalesce
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.locality import Choice, Locality
from policies.pipeline import Device, Pipeline, Stage
from policies.runlog import Outcome, RunLog
from policies.workload import Workload
from reports.invariants import check
from reports.metrics import measure
from sim.keys.zipf import Zipf
from sim.service.affine import Affine
from sim.service_times import ModelTimes
from sim.simulate import engine_for, replay_pipeline, run, simulate
from sim.streams import stream
from tests.executor_models import Linear
from tests.keyed_pipelines import LOCALITY, keyed_pipelines, keyed_workloads, simulated

NEAR = """
name: near
seed: 3
workload: {arrivals: 1500/s, requests: 4000, keys: {kind: zipf, count: 2000, exponent: 0.9}}
stages:
  - name: rank
    replicas: 4
    max_batch: 8
    service: {kind: affine, base: 1ms, per_request: 100us}
    locality: {cache: 200, miss: 1ms}
"""


def near(*overrides: str) -> Config:
    return parse_config(parse_yaml(NEAR, "near.yaml"), file="/near.yaml", overrides=overrides)


def stage(locality: Locality | None, **more: object) -> Stage:
    made = Stage("s", Immediate(), lambda n: 100 + n, max_batch=4, locality=locality)
    return replace(made, **more)  # type: ignore[arg-type]


def ran(of: Stage, arrival_ns: list[int], keys: list[int]) -> RunLog:
    """Batches take 100 ns."""
    workload = Workload.of(np.array(arrival_ns, np.int64), keys=np.array(keys, np.int64))
    return run(Pipeline((of,)), [ModelTimes(Affine(base_ns=100), stream(0, 0, "s"))], workload)


def sent(log: RunLog) -> list[tuple[int, int, list[int], int]]:
    """(dispatched, replica, requests, missed) of each batch."""
    b, visits = log.stages[0].batches, log.stages[0].visits.made()
    assert b.missed is not None
    return [
        (int(at), int(replica), visits.request[visits.row == row].tolist(), int(missed))
        for row, (at, replica, missed) in enumerate(
            zip(b.dispatched_ns, b.replica, b.missed, strict=True)
        )
    ]


@pytest.mark.parametrize("cache", [20, 200, 1000])
@pytest.mark.parametrize("exponent", [0.8, 1.2])
def test_a_cache_hits_as_often_as_ches_approximation_says(cache: int, exponent: float) -> None:
    """Che, Tung and Wang, "Hierarchical Web caching systems", IEEE JSAC 2002: an LRU cache of C keys hits
    key k with probability 1 - exp(-p_k t), where t solves sum_k (1 - exp(-p_k t)) = C.
    """
    count, requests = 2000, 60_000
    keys = Zipf(count, exponent).draw(stream(1, 0, "keys"), requests)
    caches = Caches(Locality(cache=cache), 1, keys.tolist())
    missed = np.array([caches.serve(0, [request]) for request in range(requests)])
    p = np.arange(1.0, count + 1) ** -exponent
    p /= p.sum()
    time = brentq(lambda t: (1 - np.exp(-p * t)).sum() - cache, 0, 1e9)
    expected = (p * (1 - np.exp(-p * time))).sum()
    assert 1 - missed[5000:].mean() == pytest.approx(expected, abs=0.008)
    assert caches.missed.tolist() == missed.tolist()


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4), max_size=12), st.data())
def test_a_replica_holds_the_last_keys_that_it_served(
    batches: list[list[int]], data: st.DataObject
) -> None:
    """Against a list that is searched from its end."""
    keys = [key for batch in batches for key in batch]
    caches = Caches(Locality(cache=3, wait_ns=10), 2, keys)
    served: tuple[list[int], list[int]] = ([], [])
    first = 0
    for batch in batches:
        replica = data.draw(st.integers(0, 1))
        if data.draw(st.booleans()):
            caches.lose(replica)
            served[replica].clear()
        expected = 0
        for key in batch:
            expected += key not in list(dict.fromkeys(served[replica][::-1]))[:3]
            served[replica].append(key)
        assert caches.serve(replica, range(first, first + len(batch))) == expected
        first += len(batch)


HELD = {0: 0b01, 1: 0b10, 2: 0, 3: 0b01, 4: 0b11, 5: 0b10}
"""Which of two replicas hold the keys of requests 0 to 5."""


@pytest.mark.parametrize(
    ("idle", "count", "overdue", "look", "chosen"),
    [
        (0b01, 9, False, 9, Choice(0, [0, 2, 3, 4])),
        (0b10, 9, False, 9, Choice(1, [1, 2, 4, 5])),  # the head is passed over
        (0b10, 2, False, 9, Choice(1, [1, 2])),
        (0b10, 3, True, 9, Choice(1, [0, 1, 2])),  # it has waited for long enough
        (0b11, 9, True, 9, Choice(0, [0, 1, 2, 3, 4, 5])),
        (0b10, 1, False, 1, None),
        (0b10, 2, False, 1, Choice(1, [1])),  # as many are looked at as could go
    ],
)
def test_who_goes_where(
    idle: int, count: int, overdue: bool, look: int, chosen: Choice | None
) -> None:
    rule = Locality(cache=9, wait_ns=5, look=look)
    assert rule.choose(HELD, count, HELD.__getitem__, idle, overdue) == chosen


def test_without_a_wait_the_order_is_kept_and_the_replica_chosen() -> None:
    rule = Locality(cache=9)
    assert rule.choose(HELD, 3, HELD.__getitem__, 0b10, False) == Choice(1, [0, 1, 2])
    assert rule.choose([1, 0], 2, HELD.__getitem__, 0b11, False) == Choice(1, [1, 0])


@pytest.mark.parametrize(
    ("wait_ns", "at_ns", "replica", "missed"),
    [(0, 10, 1, 1), (30, 40, 1, 1), (89, 99, 1, 1), (90, 100, 0, 0), (500, 100, 0, 0)],
)
def test_the_head_waits_for_its_replica_but_not_long(
    wait_ns: int, at_ns: int, replica: int, missed: int
) -> None:
    """Replica 0 serves key 7 until 100; at 10 another request for it finds replica 1 idle."""
    of = stage(Locality(cache=4, wait_ns=wait_ns), replicas=2)
    assert sent(ran(of, [0, 10], [7, 7])) == [
        (0, 0, [0], 1),
        (at_ns, replica, [1], missed),
    ]


def test_others_go_past_a_head_that_waits_and_it_takes_all_along_in_the_end() -> None:
    of = stage(Locality(cache=4, wait_ns=60), replicas=2)
    log = ran(of, [0, 10, 20, 25, 90], [7, 7, 8, 7, 7])
    # At 20 key 8 goes to the idle replica, past the head. Replica 0 is free at 100, and takes the head and
    # those for the same key with it.
    assert sent(log) == [(0, 0, [0], 1), (20, 1, [2], 1), (100, 0, [1, 3, 4], 0)]
    # The second for key 7 is at the head from 100 on; it is passed over at 120, and goes anywhere at 180.
    of = stage(Locality(cache=4, wait_ns=60), replicas=2, max_batch=1)
    log = ran(of, [0, 10, 11, 20], [7, 7, 7, 8])
    assert sent(log) == [(0, 0, [0], 1), (20, 1, [3], 1), (100, 0, [1], 0), (180, 1, [2], 1)]


def test_a_miss_costs_time_and_a_replica_that_comes_back_holds_nothing() -> None:
    of = stage(Locality(cache=4, miss_ns=7))
    log = ran(of, [0, 0, 0, 500], [1, 1, 2, 1])
    assert sent(log) == [(0, 0, [0, 1, 2], 2), (500, 0, [3], 0)]
    assert log.requests.ended_ns.tolist() == [114, 114, 114, 600]
    assert measure(log).stages[0].missed_share == 2 / 4
    again = replay_pipeline(Pipeline((of,)), log)
    np.testing.assert_array_equal(again.requests.ended_ns, log.requests.ended_ns)


def test_with_coalescing_a_key_is_fetched_once_for_all_that_share_it() -> None:
    of = stage(Locality(cache=4, miss_ns=7), coalesce=Coalesce(in_flight=True))
    log = ran(of, [0, 0, 0, 50], [1, 1, 2, 1])
    assert log.requests.ended_ns.tolist() == [114] * 4
    found = measure(log).stages[0]
    assert (found.computed_share, found.missed_share) == (2 / 4, 2 / 2)


@given(keyed_pipelines(coalesce=st.none()), keyed_workloads(), st.integers(0, 2**16))
def test_a_wait_of_nothing_and_misses_that_are_free_change_no_time(
    pipeline: Pipeline, workload: Workload, seed: int
) -> None:
    """Which replica serves a batch matters to nobody, unless it takes a slot of a shared device."""
    own = [replace(stage, device=(), hedge=None) for stage in pipeline.stages]
    with_it = [replace(stage, locality=Locality(cache=2)) for stage in own]
    bare = [replace(stage, locality=None) for stage in own]
    ends = [
        simulated(replace(pipeline, stages=tuple(stages)), workload, seed).requests.ended_ns
        for stages in (with_it, bare)
    ]
    np.testing.assert_array_equal(ends[0], ends[1])


@given(
    keyed_pipelines(coalesce=st.none(), locality=LOCALITY), keyed_workloads(), st.integers(0, 2**16)
)
def test_misses_are_those_of_the_batches_as_they_were_sent(
    pipeline: Pipeline, workload: Workload, seed: int
) -> None:
    """The caches told again from the log alone."""
    pipeline = replace(
        pipeline, stages=tuple(replace(stage, hedge=None) for stage in pipeline.stages)
    )
    log = simulated(pipeline, workload, seed)
    assert check(log) == []
    keys = log.requests.keys
    assert keys is not None
    for spec, found in zip(pipeline.stages, log.stages, strict=True):
        assert spec.locality is not None
        visits, batches = found.visits.made(), found.batches
        served: list[list[int]] = [[] for _ in range(spec.replicas)]
        for row, replica in enumerate(batches.replica):
            missed = 0
            for key in keys[visits.request[visits.row == row]].tolist():
                last = list(dict.fromkeys(served[replica][::-1]))[: spec.locality.cache]
                missed += key not in last
                served[replica].append(key)
            assert batches.missed is not None
            assert batches.missed[row] == missed


def test_a_longer_wait_finds_more_keys_held() -> None:
    waits = ("0ms", "1ms", "4ms")
    found = [measure(simulate(near(f"stages.rank.locality.wait={wait}"))) for wait in waits]
    shares = [metrics.stages[0].missed_share or 0.0 for metrics in found]
    assert shares[0] > 1.1 * shares[1] > 1.1 * shares[2]


def test_the_driver_is_the_reference_and_says_why() -> None:
    assert engine_for(near()) == (
        "simpy",
        "stage rank: it chooses replicas by what they hold",
    )


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("workload.keys=null", "stages.rank.locality: needs workload.keys, which is not set"),
        ("stages.rank.locality.cache=0", "stages.rank.locality.cache: must be at least 1, not 0"),
        (
            "stages.rank.locality.wait=-1ms",
            "stages.rank.locality.wait: must not be negative, but is -1ms",
        ),
        ("stages.rank.locality.miss=1", "stages.rank.locality.miss: needs a unit"),
        ("stages.rank.locality.look=0", "stages.rank.locality.look: must be at least 1, not 0"),
        ("stages.rank.locality={miss: 1ms}", "stages.rank.locality.cache: is missing"),
    ],
)
def test_knobs_out_of_bounds_are_named(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as told:
        near(override)
    assert says in str(told.value)


def test_the_executor_sends_keys_to_the_replica_that_has_served_them() -> None:
    """Two replicas, six keys that each can hold half of: most of them find their own again."""
    base = Stage(
        "s",
        Fixed(delay_ns=1_000_000),
        lambda n: 2_000_000 + n,
        replicas=2,
        max_batch=4,
        device=("cpu", "cpu"),
    )
    keys = np.random.default_rng(4).integers(0, 6, 300)
    workload = Workload.of(np.arange(300) * 1_500_000, keys=keys)
    with Executor(Pipeline((base,), (Device("cpu", 2),)), {"s": Linear(work_s=0.002)}) as executor:
        share = {}
        for wait_ms in (0, 20):
            rule = Locality(cache=3, miss_ns=999, wait_ns=wait_ms * 1_000_000)
            pipeline = Pipeline((replace(base, locality=rule),), (Device("cpu", 2),))
            log = executor.run(workload, pipeline=pipeline).log
            assert check(log) == []
            assert (log.requests.outcome == Outcome.COMPLETED).all()
            again = replay_pipeline(pipeline, log)
            np.testing.assert_array_equal(again.requests.ended_ns, log.requests.ended_ns)
            np.testing.assert_array_equal(
                again.stages[0].batches.replica, log.stages[0].batches.replica
            )
            share[wait_ms] = measure(log).stages[0].missed_share or 0.0
        assert share[20] < share[0]
