"""Superseding: of the requests of one key that wait, only the newest is of use."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.kinds  # noqa: F401  (registers the kinds)
from configs.errors import ConfigError
from configs.load import parse_config
from configs.yaml_text import parse_yaml
from executors.executor import Executor
from executors.session import ExecutorError, RequestFailedError
from policies.fixed import Fixed
from policies.flow import SUPERSEDED
from policies.immediate import Immediate
from policies.pipeline import Pipeline, Stage
from policies.runlog import Outcome, RunLog
from policies.workload import Workload
from reports.invariants import check
from sim.service.affine import Affine
from sim.service_times import ModelTimes
from sim.simulate import engine_for, run, simulate
from sim.streams import stream
from tests.executor_models import WIDTH, Linear
from tests.keyed_pipelines import failing, keyed_pipelines, keyed_workloads, simulated
from tests.pipeline_strategies import ARRIVALS
from tests.test_executor_properties import play

TYPING = """
name: typing
workload: {arrivals: 900/s, requests: 300, keys: {kind: uniform, count: 20}, supersede: true}
stages: [{name: rank, max_batch: 8, service: {kind: affine, base: 5ms, per_request: 50us}}]
"""


def ran(pipeline: Pipeline, arrival_ns: list[int], keys: list[int]) -> RunLog:
    """Every batch takes 10 ns."""
    times = [ModelTimes(Affine(base_ns=10), stream(0, 0, "s")) for _ in pipeline.stages]
    workload = Workload.of(np.array(arrival_ns, np.int64), keys=np.array(keys, np.int64))
    return run(pipeline, times, workload)


def stage(name: str = "s", **more: object) -> Stage:
    return replace(Stage(name, Immediate(), lambda _: 10, max_batch=1), **more)  # type: ignore[arg-type]


def shed(log: RunLog) -> dict[int, int]:
    """When each request was superseded."""
    assert set(log.requests.reasons.values()) <= {SUPERSEDED}
    rows = np.flatnonzero(log.requests.outcome == Outcome.SHED)
    return {int(row): int(log.requests.ended_ns[row]) for row in rows}


def test_the_next_request_of_a_key_takes_the_place_of_the_one_that_waits() -> None:
    # 0 runs until 10; 1 and 2 wait; 3 is of the key of 1, and goes behind 2.
    log = ran(Pipeline((stage(),), supersede=True), [0, 1, 2, 3], [7, 8, 9, 8])
    assert shed(log) == {1: 3}
    assert log.requests.ended_ns.tolist() == [10, 3, 20, 30]
    assert check(log) == []


def test_one_that_runs_is_left_to_run_and_its_answer_counts() -> None:
    log = ran(Pipeline((stage(),), supersede=True), [0, 1, 2], [7, 7, 8])
    assert shed(log) == {}
    assert log.requests.ended_ns.tolist() == [10, 20, 30]


def test_one_that_runs_is_dropped_where_it_would_wait_again() -> None:
    two = (stage("a"), stage("b", parents=("a",)))
    log = ran(Pipeline(two, supersede=True), [0, 1, 100], [7, 7, 7])
    assert shed(log) == {0: 10}
    assert log.requests.ended_ns.tolist() == [10, 30, 120]
    assert check(log) == []


def test_of_requests_that_come_together_the_last_stays() -> None:
    log = ran(Pipeline((stage(),), supersede=True), [5, 5, 5], [7, 8, 7])
    assert shed(log) == {0: 5}
    assert check(log) == []


def test_a_hold_for_size_counts_on_nobody_who_has_left() -> None:
    held = stage(policy=Fixed(delay_ns=50, size=2), max_batch=2)
    log = ran(Pipeline((held,), supersede=True), [0, 20, 30], [7, 7, 8])
    assert shed(log) == {0: 20}
    assert log.requests.ended_ns.tolist() == [20, 40, 40]


@given(keyed_pipelines(), keyed_workloads(), st.integers(0, 2**16))
def test_nobody_waits_on_whose_next_request_has_come(
    pipeline: Pipeline, workload: Workload, seed: int
) -> None:
    log = simulated(replace(pipeline, supersede=True), workload, seed)
    assert check(log) == []
    assert Outcome.PENDING not in log.requests.outcome
    keys, arrival_ns = log.requests.keys, log.requests.arrival_ns
    assert keys is not None
    newer_ns = [
        min((int(arrival_ns[j]) for j in range(i + 1, len(keys)) if keys[j] == keys[i]), default=-1)
        for i in range(len(keys))
    ]
    for request, reason in log.requests.reasons.items():
        if reason == SUPERSEDED:
            assert 0 <= newer_ns[request] <= log.requests.ended_ns[request]
    for spec, each in zip(pipeline.stages, log.stages, strict=True):
        if spec.coalesce is not None:
            continue  # who waits for an answer that is under way waits in no queue
        visits, sent = each.visits.made(), each.batches
        columns = (visits.request.tolist(), visits.enqueued_ns.tolist(), visits.row.tolist())
        for request, enqueued_ns, row in zip(*columns, strict=True):
            if newer_ns[request] >= 0:
                assert enqueued_ns <= newer_ns[request]
                if row >= 0 and sent.attempt[row] == 1:
                    assert sent.dispatched_ns[row] <= newer_ns[request]


@given(keyed_pipelines(), keyed_workloads(), st.integers(0, 2**16), st.integers(0, 2**16))
def test_lost_replicas_lose_no_request(
    pipeline: Pipeline, workload: Workload, seed: int, trouble: int
) -> None:
    log = simulated(replace(pipeline, supersede=True), workload, seed, failing(pipeline, trouble))
    assert check(log) == []
    assert Outcome.PENDING not in log.requests.outcome


@given(keyed_pipelines(), keyed_workloads(), st.integers(0, 2**16))
def test_where_all_requests_differ_nothing_changes(
    pipeline: Pipeline, workload: Workload, seed: int
) -> None:
    unique = replace(workload, keys=np.arange(len(workload)))
    mine = simulated(replace(pipeline, supersede=True), unique, seed)
    plain = simulated(pipeline, unique, seed)
    np.testing.assert_array_equal(mine.requests.ended_ns, plain.requests.ended_ns)


@settings(deadline=None)
@given(keyed_pipelines(), ARRIVALS, st.integers(0, 2**16), st.sampled_from([0.0, 0.3]))
def test_the_dispatcher_keeps_the_invariants(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int, trouble: float
) -> None:
    keys = [seed * k % 7 % 3 for k in range(len(arrivals))]
    played = play(replace(pipeline, supersede=True), arrivals, seed, trouble, keys=keys)
    assert check(played.log) == []
    assert played.ends.times == Counter(range(len(arrivals)))
    assert played.payloads.under_way == 0


def test_a_real_session_drops_what_a_user_has_typed_over() -> None:
    pipeline = Pipeline(
        (stage(policy=Fixed(delay_ns=10**10, size=2), max_batch=2),), supersede=True
    )
    x = np.arange(WIDTH, dtype=np.float32)
    with Executor(pipeline, {"s": Linear("x", "y", factor=2.0)}) as executor:
        live = executor.serve()
        with pytest.raises(
            ValueError, match="requests supersede one another; give the request a key"
        ):
            live.submit({"x": x})
        first, second, other = (live.submit({"x": x}, key=key) for key in (7, 7, 8))
        with pytest.raises(RequestFailedError, match=f"shed: {SUPERSEDED}"):
            first.result(timeout=20)
        assert second.result(timeout=20).keys() == other.result(timeout=20).keys()
        log = executor.finish()
        assert log.requests.outcome.tolist() == [
            Outcome.SHED,
            Outcome.COMPLETED,
            Outcome.COMPLETED,
        ]
        with pytest.raises(ExecutorError, match="supersede one another, and the workload has no"):
            executor.run(Workload.of(np.zeros(1, np.int64)))


def test_a_configuration_says_so_and_simulates_on_the_reference() -> None:
    config = parse_config(parse_yaml(TYPING, "typing.yaml"), file="/typing.yaml")
    assert engine_for(config) == ("simpy", "requests supersede one another")
    log = simulate(config)
    assert 0 < len(shed(log)) < 150
    assert check(log) == []


def test_it_needs_keys() -> None:
    bare = TYPING.replace("keys: {kind: uniform, count: 20}, ", "")
    with pytest.raises(ConfigError, match=r"workload\.supersede: needs workload\.keys"):
        parse_config(parse_yaml(bare, "typing.yaml"), file="/typing.yaml")
