"""Coalescing: identical requests are computed once, and each gets the answer once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.kinds  # noqa: F401  (registers the kinds)
from configs.dump import plain_config
from configs.errors import ConfigError
from configs.load import parse_config
from configs.model import Config
from configs.yaml_text import parse_yaml
from executors.executor import Executor
from executors.session import ExecutorError
from policies.coalesce import Coalesce, fold
from policies.disciplines import queue_for
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.pipeline import Device, Discipline, Pipeline, Stage
from policies.requests import RequestTable
from policies.runlog import Outcome, RunLog
from policies.scheduler import Scheduler
from policies.workload import Workload
from reports.invariants import check
from reports.metrics import measure
from reports.records import read, write
from reports.run import Run
from sim.keys.zipf import Zipf
from sim.optimum.one_stage import NoOptimumError, one_stage
from sim.service.affine import Affine
from sim.service_times import ModelTimes
from sim.simulate import engine_for, replay_pipeline, run, simulate, workload_of
from sim.streams import stream
from tests.executor_models import WIDTH, Linear
from tests.keyed_pipelines import COALESCE, failing, keyed_pipelines, keyed_workloads, simulated

MANY = 2 * settings.get_profile(settings.get_current_profile_name()).max_examples

FEED = """
name: feed
workload: {arrivals: 900/s, requests: 300, keys: {kind: zipf, count: 20}}
stages: [{name: rank, max_batch: 8, coalesce: true, service: {kind: affine, base: 1ms, per_request: 50us}}]
"""


def feed(*overrides: str) -> Config:
    return parse_config(parse_yaml(FEED, "feed.yaml"), file="/feed.yaml", overrides=overrides)


def predicted(requests: int) -> int:
    return 10 + requests


def one(coalesce: Coalesce | None, **more: object) -> Pipeline:
    stage = Stage("s", Immediate(), predicted, max_batch=4, coalesce=coalesce)
    return Pipeline((replace(stage, **more),))  # type: ignore[arg-type]


def ran(pipeline: Pipeline, arrival_ns: list[int], keys: list[int], items: int = 1) -> RunLog:
    """Batches take 10 ns, 1 ns a request and 100 ns an item."""
    model = Affine(base_ns=10, per_request_ns=1, per_item_ns=100 if items > 1 else 0)
    times = [ModelTimes(model, stream(0, 0, "s")) for _ in pipeline.stages]
    n = len(keys)
    workload = Workload.of(
        np.array(arrival_ns, np.int64),
        items=np.full(n, items, np.int64),
        keys=np.array(keys, np.int64),
    )
    return run(pipeline, times, workload)


def batches(log: RunLog) -> list[tuple[int, int, int, int]]:
    """(dispatched, finished, requests, computed) of the first stage."""
    b = log.stages[0].batches
    assert b.computed is not None
    columns = (b.dispatched_ns, b.finished_ns, b.requests, b.computed)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_a_fold_runs_the_first_of_each_key_and_answers_all(keys: list[int]) -> None:
    requests = list(range(len(keys)))[::-1]
    found = fold(requests, keys)
    if found is None:
        assert len(set(keys)) == len(keys)
        return
    assert [keys[request] for request in found.computed] == list(
        dict.fromkeys(keys[request] for request in requests)
    )
    assert [keys[found.computed[row]] for row in found.rows] == [keys[r] for r in requests]


def test_a_batch_takes_the_time_of_what_is_computed() -> None:
    log = ran(one(Coalesce()), [0, 0, 0, 0], [7, 7, 8, 7], items=2)
    # Two requests and four items are run: 10 + 2 + 400.
    assert batches(log) == [(0, 412, 4, 2)]
    assert log.stages[0].batches.items.tolist() == [4]
    assert log.requests.ended_ns.tolist() == [412] * 4
    assert check(log) == []
    plain = ran(one(None), [0, 0, 0, 0], [7, 7, 8, 7], items=2)
    assert plain.requests.ended_ns.tolist() == [814] * 4
    assert plain.stages[0].batches.computed is None


def test_a_request_waits_for_the_answer_that_is_under_way() -> None:
    # Key 1 runs from 0 to 11. At 5 and at 11 another asks for it, at 5 one for key 2, which is sent at 11.
    log = ran(one(Coalesce(in_flight=True)), [0, 5, 5, 11, 12], [1, 1, 2, 1, 1])
    assert batches(log) == [(0, 11, 1, 1), (11, 11, 2, 0), (11, 22, 1, 1), (22, 33, 1, 1)]
    assert log.requests.ended_ns.tolist() == [11, 11, 22, 11, 33]
    assert check(log) == []
    assert log.stages[0].visits.made().enqueued_ns.tolist() == [0, 5, 11, 5, 12]
    stage = measure(log).stages[0]
    assert (stage.batches, stage.mean_batch, stage.computed_share) == (3, 1.0, 3 / 5)


def test_what_waits_in_the_queue_joins_the_batch_that_computes_its_key() -> None:
    pipeline = one(Coalesce(in_flight=True), max_batch=2)
    log = ran(pipeline, [0, 0, 0, 0, 0], [1, 2, 1, 3, 2])
    assert batches(log) == [(0, 12, 2, 2), (12, 12, 2, 0), (12, 23, 1, 1)]
    assert log.requests.ended_ns.tolist() == [12, 12, 12, 23, 12]


def test_repeated_keys_take_no_room_among_items() -> None:
    log = ran(one(Coalesce(), max_items=5), [0, 0, 0, 0], [1, 1, 1, 2], items=2)
    assert batches(log) == [(0, 412, 4, 2)]
    log = ran(one(None, max_items=5), [0, 0, 0, 0], [1, 1, 1, 2], items=2)
    assert log.stages[0].batches.requests.tolist() == [2, 2]


@pytest.mark.parametrize("exponent", [0.0, 1.1])
@pytest.mark.parametrize("size", [4, 32])
def test_a_batch_holds_as_many_keys_as_theory_expects(exponent: float, size: int) -> None:
    """n independent draws hold sum_k 1 - (1 - p_k)^n distinct keys in the mean."""
    count, rows = 200, 500
    keys = Zipf(count, exponent).draw(stream(3, 0, "keys"), size * rows)
    stage = Stage("s", Immediate(), predicted, max_batch=size, coalesce=Coalesce())
    arrival_ns = np.repeat(np.arange(rows) * 1000, size)
    log = run(
        Pipeline((stage,)),
        [ModelTimes(Affine(base_ns=10), stream(0, 0, "s"))],
        Workload.of(arrival_ns, keys=keys),
    )
    computed = log.stages[0].batches.computed
    assert computed is not None
    assert len(computed) == rows
    weights = np.arange(1.0, count + 1) ** -exponent
    expected = (1 - (1 - weights / weights.sum()) ** size).sum()
    assert computed.mean() == pytest.approx(expected, abs=4 * computed.std() / rows**0.5)


def computing(log: RunLog, stage: int, row: int) -> set[int]:
    """Keys that a batch computes."""
    visits = log.stages[stage].visits.made()
    assert log.requests.keys is not None
    return set(log.requests.keys[visits.request[visits.row == row]].tolist())


@settings(max_examples=MANY)
@given(keyed_pipelines(), keyed_workloads(), st.integers(0, 2**16))
def test_every_run_keeps_the_invariants_and_computes_no_key_twice_at_a_time(
    pipeline: Pipeline, workload: Workload, seed: int
) -> None:
    log = simulated(pipeline, workload, seed)
    assert check(log) == []
    assert Outcome.PENDING not in log.requests.outcome
    for index, (spec, stage) in enumerate(zip(pipeline.stages, log.stages, strict=True)):
        if spec.coalesce is None:
            continue
        sent = stage.batches
        keys = [computing(log, index, row) for row in range(len(sent.batch))]
        assert sent.computed is not None
        served = ~sent.discarded & (sent.computed > 0)
        assert [len(keys[row]) for row in np.flatnonzero(served)] == sent.computed[served].tolist()
        if spec.coalesce.in_flight and spec.hedge is None:
            whole = [row for row in np.flatnonzero(served) if sent.dispatched_ns[row] < log.end_ns]
            for at, row in enumerate(whole):
                for other in whole[at + 1 :]:
                    if sent.dispatched_ns[other] < sent.finished_ns[row]:
                        assert not keys[row] & keys[other]


@settings(max_examples=MANY)
@given(keyed_pipelines(), keyed_workloads(), st.integers(0, 2**16), st.integers(0, 2**16))
def test_lost_replicas_lose_no_request(
    pipeline: Pipeline, workload: Workload, seed: int, trouble: int
) -> None:
    log = simulated(pipeline, workload, seed, failing(pipeline, trouble))
    assert check(log) == []
    assert Outcome.PENDING not in log.requests.outcome


@given(keyed_pipelines(locality=st.none()), keyed_workloads(), st.integers(0, 2**16))
def test_where_all_requests_differ_nothing_changes(
    pipeline: Pipeline, workload: Workload, seed: int
) -> None:
    unique = replace(workload, keys=np.arange(len(workload)))
    bare = replace(
        pipeline, stages=tuple(replace(stage, coalesce=None) for stage in pipeline.stages)
    )
    mine, plain = simulated(pipeline, unique, seed), simulated(bare, unique, seed)
    np.testing.assert_array_equal(mine.requests.ended_ns, plain.requests.ended_ns)


@given(keyed_pipelines(coalesce=COALESCE), keyed_workloads(), st.integers(0, 2**16))
def test_a_run_replays_itself(pipeline: Pipeline, workload: Workload, seed: int) -> None:
    free = [
        replace(stage, queue_bound=None, admission=None, hedge=None, policy=Fixed(delay_ns=9))
        for stage in pipeline.stages
    ]
    pipeline = replace(pipeline, stages=tuple(free), expire=False)
    log = simulated(pipeline, workload, seed)
    again = replay_pipeline(pipeline, log)
    np.testing.assert_array_equal(again.requests.ended_ns, log.requests.ended_ns)


@given(
    st.sampled_from(Discipline),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=4),
    st.data(),
)
def test_a_queue_gives_any_of_those_that_wait(
    discipline: Discipline, chunks: list[list[int]], data: st.DataObject
) -> None:
    table = RequestTable()
    queue = queue_for(discipline, table)
    entered: dict[int, int] = {}
    for at_ns, levels in enumerate(chunks):
        chunk = [table.append(at_ns, level, 1, level) for level in levels]
        queue.push(at_ns, chunk)
        entered |= dict.fromkeys(chunk, at_ns)
    for _ in range(2):
        waiting = list(queue)
        wanted = [each for each in waiting if data.draw(st.booleans())]
        taken, runs = queue.take_these(wanted)
        assert list(taken) == wanted
        assert [at for at, count in runs for _ in range(count)] == [entered[w] for w in wanted]
        assert list(queue) == [each for each in waiting if each not in wanted]
        left = [entered[each] for each in queue]
        if left:
            assert (queue.oldest_ns(), queue.newest_ns()) == (min(left), max(left))


def test_a_batch_that_fails_takes_those_along_that_waited_for_it() -> None:
    table = RequestTable()
    scheduler = Scheduler(one(Coalesce(in_flight=True)), table)
    for now_ns, key in ((0, 1), (3, 1), (4, 2)):
        scheduler.arrived(now_ns, [table.append(now_ns, 99, 1, 0, key)])
        scheduler.decide(now_ns)
    scheduler.batch_failed(9, 0, 0, "it raised")
    scheduler.decide(9)
    scheduler.replica_lost(10, 0, 0, returns=True)
    scheduler.replica_back(11, 0, 0)
    scheduler.decide(11)
    scheduler.arrived(12, [table.append(12, 99, 1, 0, 2)])
    scheduler.replica_lost(13, 0, 0, returns=False)
    log = scheduler.log(13)
    assert log.requests.outcome.tolist() == [Outcome.FAILED] * 4
    assert log.requests.reasons[1] == "it raised"
    assert log.requests.reasons[3] == "stage s lost the replica of this batch twice"
    assert check(log) == []


def test_the_records_tell_what_was_computed(tmp_path: Path) -> None:
    log = ran(
        Pipeline(
            (
                *one(Coalesce(in_flight=True)).stages,
                Stage("t", Immediate(), predicted, parents=("s",)),
            )
        ),
        [0, 5, 5],
        [1, 1, 2],
    )
    write(tmp_path / "run", Run("r", log))
    first, second = read(tmp_path / "run").log.stages
    assert first.batches.computed is not None
    assert first.batches.computed.tolist() == [1, 0, 1]
    assert second.batches.computed is None


def test_the_driver_is_the_reference_and_says_why() -> None:
    assert engine_for(feed()) == ("simpy", "stage rank: it coalesces requests of one key")
    assert simulate(feed("stages.rank.coalesce=false")).info["engine"] == "compiled"


def test_it_may_be_written_short() -> None:
    assert feed().stages[0].coalesce == Coalesce()
    assert feed("stages.rank.coalesce={in_flight: true}").stages[0].coalesce == Coalesce(
        in_flight=True
    )
    assert feed("stages.rank.coalesce=false").stages[0].coalesce is None
    again = parse_config(plain_config(feed()), file="/feed.yaml")
    assert again.stages == feed().stages


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            "workload.keys=null",
            "stages.rank.coalesce: needs workload.keys, which is not set: requests are told apart",
        ),
        (
            "stages.rank.coalesce=7",
            "stages.rank.coalesce: must be a mapping of keys to values, not 7",
        ),
        (
            "stages.rank.coalesce={inflight: true}",
            "stages.rank.coalesce.inflight: unknown key; did you mean `in_flight`?",
        ),
    ],
)
def test_what_cannot_be_is_named(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as told:
        feed(override)
    assert says in str(told.value)


def test_the_optimum_of_one_stage_is_not_known_with_it() -> None:
    config = feed()
    with pytest.raises(
        NoOptimumError, match=r"stages\.rank looks at keys \(coalesce or locality\)"
    ):
        one_stage(config, workload_of(config))


def test_a_workload_without_keys_is_refused_from_python_too() -> None:
    with pytest.raises(
        ValueError, match="told apart by keys, and they have none; give the workload keys"
    ):
        run(
            one(Coalesce()),
            [ModelTimes(Affine(), stream(0, 0, "s"))],
            Workload.of(np.zeros(1, np.int64)),
        )


def test_the_executor_runs_each_key_once_and_answers_all() -> None:
    def stage(name: str, *parents: str, coalesce: Coalesce | None) -> Stage:
        return Stage(
            name,
            Fixed(delay_ns=2_000_000),
            lambda n: 100_000 + n,
            max_batch=16,
            device=("cpu",),
            parents=parents,
            coalesce=coalesce,
        )

    pipeline = Pipeline(
        (
            stage("a", coalesce=Coalesce(in_flight=True)),
            stage("b", "a", coalesce=Coalesce()),
        ),
        (Device("cpu", 1),),
    )
    sources = {"a": Linear("x", "y", factor=2.0, work_s=0.003), "b": Linear("y", "z", offset=1.0)}
    keys = Zipf(30, 1.2).draw(stream(5, 0, "keys"), 300)
    workload = Workload.of(np.arange(300) * 400_000, keys=keys)
    with Executor(pipeline, sources) as executor:
        result = executor.run(workload)
        x = executor.sample_inputs(300)["x"][keys % 300]
        np.testing.assert_array_equal(result.answers["z"], 2 * x + 1)
        log = result.log
        assert check(log) == []
        assert (log.requests.outcome == Outcome.COMPLETED).all()
        for each in log.stages:
            assert each.batches.computed is not None
            assert each.batches.computed.sum() < 300
        shared = log.stages[0].batches.computed
        assert shared is not None
        assert 0 in shared.tolist()
        again = replay_pipeline(pipeline, log)
        np.testing.assert_array_equal(again.requests.ended_ns, log.requests.ended_ns)

        with pytest.raises(ExecutorError, match="stage a coalesces or has locality"):
            executor.run(replace(workload, keys=None))
        live = executor.serve()
        row = {"x": np.ones(WIDTH, np.float32)}
        with pytest.raises(ValueError, match="stage a coalesces or has locality; give the request"):
            live.submit(row)
        futures = [live.submit(row, key=4) for _ in range(5)]
        for future in futures:
            np.testing.assert_array_equal(future.result(30)["z"], np.full(WIDTH, 3.0))
        executor.finish()
