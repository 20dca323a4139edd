"""Hedging: who is sent again and when, that the first answer counts, and what theory says of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import sim.kinds  # noqa: F401  (registers the kinds)
from configs.errors import ConfigError
from configs.load import parse_config
from executors.executor import Executor
from policies.contract import NEVER_NS
from policies.hedge import Hedge
from policies.immediate import Immediate
from policies.pipeline import Device, Pipeline, Stage
from policies.runlog import Int64, Outcome, RunLog
from policies.workload import ClosedWorkload, Workload
from reports.breakdown import breakdowns
from reports.invariants import check
from reports.metrics import measure
from reports.records import read, write
from reports.run import Run
from reports.waits import visit_times
from sim.engines import EngineError
from sim.service.exponential import Exponential
from sim.service_times import ModelTimes, ReplayTimes
from sim.simpy_driver import SimpyDriver
from sim.simulate import Beside, replay_pipeline, run, simulate
from tests.executor_models import WIDTH, SlowAtFirst
from tests.pipeline_strategies import ARRIVALS, pipelines, predicted_ns, workload_of

MANY = 3 * settings.get_profile(settings.get_current_profile_name()).max_examples

HEDGES = st.one_of(
    st.builds(Hedge, after_ns=st.integers(0, 40), budget=st.sampled_from([0.3, 1.0])),
    st.builds(Hedge, quantile=st.sampled_from([0.3, 0.8])),
)


@st.composite
def hedged_pipelines(draw: st.DrawFn) -> Pipeline:
    """Generated pipelines some or all of whose stages hedge."""
    pipeline = draw(pipelines())
    hedges = st.one_of(st.none(), HEDGES)
    stages = tuple(replace(stage, hedge=draw(hedges)) for stage in pipeline.stages)
    return replace(pipeline, stages=stages)


def times(*lists: tuple[list[int], list[int]]) -> list[ReplayTimes]:
    """By stage: the times of batches 0, 1, ..., and of their second attempts."""
    return [
        ReplayTimes(np.array(first, np.int64), ReplayTimes(np.array(second, np.int64)))
        for first, second in lists
    ]


def drawn(pipeline: Pipeline, seed: int) -> list[ReplayTimes]:
    rng = np.random.default_rng(seed)
    return times(*((rng.integers(0, 40, 99).tolist(),) * 2 for _ in pipeline.stages))


def one(hedge: Hedge | None, **more: object) -> Pipeline:
    stage = Stage("s", Immediate(), predicted_ns, replicas=2, hedge=hedge)
    return Pipeline((replace(stage, **more),))  # type: ignore[arg-type]


def at(*arrival_ns: int) -> Workload:
    return Workload.of(np.array(arrival_ns, np.int64))


def rows(log: RunLog) -> list[tuple[int, int, int, int, int, bool]]:
    """(batch, attempt, replica, dispatched, finished, discarded) of the first stage."""
    b = log.stages[0].batches
    columns = (b.batch, b.attempt, b.replica, b.dispatched_ns, b.finished_ns, b.discarded)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_a_late_batch_is_sent_again_and_its_first_answer_counts() -> None:
    log = run(one(Hedge(after_ns=30)), times(([100], [20])), at(0, 200))
    assert rows(log)[:2] == [(0, 1, 0, 0, 100, True), (0, 2, 1, 30, 50, False)]
    assert log.requests.ended_ns.tolist() == [50, 250]
    assert check(log) == []
    # Its service is from the first dispatch to the first answer; nobody was held.
    seen = visit_times(log, 0)
    assert seen.service_ns.tolist() == [50, 50]
    assert seen.queue_ns.tolist() == seen.hold_ns.tolist() == [0, 0]
    assert breakdowns(log)[0].stages[0].service == pytest.approx(50e-6)
    cost = measure(log).cost
    # The second batch's first attempt runs on when the run ends.
    assert cost.discarded_seconds == pytest.approx((100 + 50) * 1e-9)
    assert cost.busy_seconds == pytest.approx((100 + 20 + 50 + 20) * 1e-9)


def test_a_batch_that_is_done_in_time_is_sent_once() -> None:
    log = run(one(Hedge(after_ns=30)), times(([30, 29], [1])), at(0, 100))
    assert [row[:2] for row in rows(log)] == [(0, 1), (1, 1)]


def test_the_first_attempt_may_still_be_first() -> None:
    log = run(one(Hedge(after_ns=30)), times(([40], [60])), at(0, 90))
    assert rows(log)[:2] == [(0, 1, 0, 0, 40, False), (0, 2, 1, 30, 90, True)]
    assert log.requests.ended_ns.tolist() == [40, 130]


def test_of_two_answers_at_one_instant_the_lower_replica_counts() -> None:
    log = run(one(Hedge(after_ns=30)), times(([40], [10])), at(0))
    assert rows(log) == [(0, 1, 0, 0, 40, False), (0, 2, 1, 30, 40, True)]


def test_the_copy_that_came_second_keeps_its_replica_until_its_end() -> None:
    log = run(one(Hedge(after_ns=10)), times(([100, 5, 5], [5])), at(0, 20, 20))
    # At 20 replica 0 is busy for nothing: the two requests share replica 1.
    assert [row[2:4] for row in rows(log)] == [(0, 0), (1, 10), (1, 20), (1, 25)]


def test_new_work_goes_before_copies_which_wait_for_a_replica() -> None:
    log = run(one(Hedge(after_ns=10)), times(([100, 30, 8], [5])), at(0, 5, 6))
    # Late from 10 on, but replica 1 serves batch 1 until 35 and then batch 2 until 43.
    assert (0, 2, 1, 43, 48, False) in rows(log)
    assert log.requests.ended_ns.tolist() == [48, 35, 43]


def test_the_budget_is_kept_at_every_moment() -> None:
    log = run(one(Hedge(after_ns=1, budget=0.25)), times(([9], [9])), at(*range(0, 400, 20)))
    b = log.stages[0].batches
    for row in np.flatnonzero(b.attempt == 2):
        assert (b.attempt[: row + 1] == 2).sum() <= 0.25 * (b.attempt[: row + 1] == 1).sum()
    assert (b.attempt == 2).sum() == 5


def test_quantiles_are_of_recent_batches_against_their_predictions() -> None:
    hedge = Hedge(quantile=0.9)
    assert hedge.wait_ns(10, [1.0] * 9) == NEVER_NS
    slowness = [k / 10 for k in range(1, 21)]
    assert hedge.wait_ns(10, slowness) == 18
    assert hedge.wait_ns(100, slowness) == 180
    assert hedge.wait_ns(0, [50.0] * 20) == 50  # nothing is predicted: times as they are
    log = run(one(Hedge(quantile=0.75)), times(([10, 20, 10, 90], [5])), at(*range(0, 800, 100)))
    # After four batches the third of four is known, 20 ns: the eighth runs for too long.
    assert [row[3] for row in rows(log) if row[1] == 2] == [720]


@pytest.mark.parametrize(
    ("hedge", "text"),
    [
        ({}, "needs after or quantile"),
        ({"after_ns": 1, "quantile": 0.5}, "has both after and quantile; keep one of them"),
    ],
)
def test_a_hedge_says_in_one_way_when(hedge: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Hedge(**hedge)  # type: ignore[arg-type]


def losing(*losses: tuple[int, int]) -> Beside:
    """Replicas of the first stage die for good at these times: (at_ns, replica)."""

    def lose(env: simpy.Environment, driver: SimpyDriver) -> None:
        for at_ns, replica in losses:
            env.timeout(at_ns).callbacks.append(
                lambda _, replica=replica: driver.lose(0, replica, returns=False)  # type: ignore[misc]
            )

    return lose


def test_the_other_copy_carries_on_when_one_is_lost() -> None:
    for lost, ended in ((0, 90), (1, 100)):
        log = run(one(Hedge(after_ns=30)), times(([100], [60])), at(0), beside=losing((50, lost)))
        assert check(log) == []
        assert log.requests.ended_ns.tolist() == [ended]
        b = log.stages[0].batches
        assert b.lost.tolist() == [lost == 0, lost == 1]
        assert not b.discarded.any()
        seen = visit_times(log, 0)
        assert (seen.queue_ns.tolist(), seen.hold_ns.tolist()) == ([0], [0])


def test_a_batch_that_was_sent_twice_is_not_retried() -> None:
    losses = losing((50, 0), (60, 1))
    log = run(one(Hedge(after_ns=30), replicas=3), times(([100], [90])), at(0), beside=losses)
    assert check(log) == []
    assert log.requests.outcome.tolist() == [Outcome.FAILED]
    assert log.requests.reasons == {0: "stage s lost the replica of this batch twice"}


def test_a_copy_that_came_second_may_be_lost_without_harm() -> None:
    log = run(one(Hedge(after_ns=30)), times(([100], [20])), at(0, 70), beside=losing((60, 0)))
    assert check(log) == []
    assert log.requests.ended_ns.tolist() == [50, 170]
    assert log.stages[0].batches.lost.tolist() == [True, False, False]


@settings(max_examples=MANY)
@given(hedged_pipelines(), ARRIVALS, st.integers(0, 2**16))
def test_every_hedged_run_keeps_the_invariants(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int
) -> None:
    log = run(pipeline, drawn(pipeline, seed), workload_of(arrivals), engine="simpy")
    assert check(log) == []
    assert Outcome.PENDING not in log.requests.outcome
    for index, stage in enumerate(log.stages):
        seen = visit_times(log, index)
        assert (seen.hold_ns >= 0).all()
        assert (seen.hold_ns <= seen.queue_ns).all()
        assert stage.batches.items[stage.batches.discarded].all()


@settings(max_examples=MANY)
@given(hedged_pipelines(), ARRIVALS, st.integers(0, 2**16), st.integers(0, 2**16))
def test_lost_replicas_lose_no_request_of_a_hedged_run(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int, trouble: int
) -> None:
    def failures(env: simpy.Environment, driver: SimpyDriver) -> None:
        rng = np.random.default_rng(trouble)

        def fail() -> object:
            up = [(k, r) for k, s in enumerate(pipeline.stages) for r in range(s.replicas)]
            for _ in range(8):
                yield env.timeout(int(rng.integers(1, 60)))
                if not up:
                    return
                stage, replica = up.pop(int(rng.integers(len(up))))
                returns = bool(rng.integers(2))
                driver.lose(stage, replica, returns=returns)
                if returns:
                    yield env.timeout(int(rng.integers(1, 30)))
                    driver.restore(stage, replica)
                    up.append((stage, replica))

        env.process(fail())  # type: ignore[arg-type]

    log = run(pipeline, drawn(pipeline, seed), workload_of(arrivals), beside=failures)
    assert check(log) == []
    assert Outcome.PENDING not in log.requests.outcome


@given(hedged_pipelines(), ARRIVALS, st.integers(0, 2**16))
def test_a_hedge_that_never_comes_due_changes_nothing(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int
) -> None:
    ends: list[Int64] = []
    for hedge in (None, Hedge(after_ns=10**9)):
        stages = tuple(replace(stage, hedge=hedge) for stage in pipeline.stages)
        varied = replace(pipeline, stages=stages)
        log = run(varied, drawn(pipeline, seed), workload_of(arrivals), engine="simpy")
        ends.append(log.requests.ended_ns)
    np.testing.assert_array_equal(ends[0], ends[1])


@given(hedged_pipelines(), ARRIVALS, st.integers(0, 2**16))
def test_a_hedged_run_replays_itself(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int
) -> None:
    # What is cut off by the end of a run was not measured, and nothing may be dropped.
    stages = tuple(replace(stage, queue_bound=None) for stage in pipeline.stages)
    pipeline = replace(pipeline, stages=stages, expire=False)
    log = run(pipeline, drawn(pipeline, seed), workload_of(arrivals))
    if (log.requests.outcome == Outcome.COMPLETED).all():
        again = replay_pipeline(pipeline, log)
        np.testing.assert_array_equal(again.requests.ended_ns, log.requests.ended_ns)


def test_hedging_at_once_takes_the_minimum_of_two_exponentials() -> None:
    # One client, so many replicas that there is always an idle one.
    count, mean_ns = 20_000, 1_000_000
    for after_ns in (0, mean_ns):
        model = Exponential(mean_ns)
        first, second = np.random.default_rng(1), np.random.default_rng(2)
        noisy = [ModelTimes(model, first, ModelTimes(model, second))]
        clients = ClosedWorkload(
            1, np.zeros(count, np.int64), np.ones(count, np.int64), np.zeros(count, np.int8), None
        )
        log = run(one(Hedge(after_ns=after_ns), replicas=64), noisy, clients)
        took = (log.requests.ended_ns - log.requests.arrival_ns) / mean_ns
        after = after_ns / mean_ns
        # As long as only one runs the hazard is 1, then 2: the accumulated hazard is exponential again.
        hazard = took + np.maximum(took - after, 0)
        assert stats.kstest(hazard, "expon").pvalue > 0.01
        copies = (log.stages[0].batches.attempt == 2).mean() / (
            log.stages[0].batches.attempt == 1
        ).mean()
        assert copies == pytest.approx(math.exp(-after), rel=0.03)


CONFIG: dict[str, Any] = {
    "name": "tail",
    "workload": {"arrivals": "100/s", "requests": 4000},
    "stages": [
        {
            "name": "rank",
            "replicas": 4,
            "max_batch": 4,
            "service": {"kind": "lognormal", "mean": "10ms", "cv": 1.5},
            "hedge": {"after": "20ms"},
        }
    ],
}


def with_stage(**keys: object) -> dict[str, object]:
    stage = {**CONFIG["stages"][0], **keys}
    return {**CONFIG, "stages": [stage]}


def test_a_configured_hedge_cuts_the_tail_and_says_why_it_is_not_compiled(tmp_path: Path) -> None:
    hedged = simulate(parse_config(CONFIG))
    plain = simulate(parse_config(with_stage(hedge=None)))
    assert hedged.info["engine_reason"] == "stage rank: its batches are hedged"
    assert plain.info["engine"] == "compiled"
    assert check(hedged) == []
    assert measure(hedged).latency.p99_ms < 0.7 * measure(plain).latency.p99_ms  # type: ignore[operator]
    with pytest.raises(EngineError, match="its batches are hedged"):
        simulate(parse_config(CONFIG), engine="compiled")
    write(tmp_path / "run", Run("tail", hedged))
    batches = read(tmp_path / "run").log.stages[0].batches
    np.testing.assert_array_equal(batches.discarded, hedged.stages[0].batches.discarded)


@pytest.mark.parametrize(
    ("keys", "where", "text"),
    [
        ({"replicas": 1}, "stages.rank.hedge", "can never send a batch again: the stage has 1 rep"),
        ({"hedge": {"after": "-1ms"}}, "stages.rank.hedge.after", "must not be negative, but is"),
        ({"hedge": {"quantile": 1}}, "stages.rank.hedge.quantile", "must be at most 0.999, not 1"),
        ({"hedge": {"quantile": 0}}, "stages.rank.hedge.quantile", "must be more than 0, not 0"),
        ({"hedge": {"after": "1ms", "budget": 2}}, "stages.rank.hedge.budget", "must be at most 1"),
        ({"hedge": {}}, "stages.rank.hedge", "needs after or quantile"),
    ],
)
def test_what_makes_no_sense_is_refused(keys: dict[str, object], where: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(with_stage(**keys))
    assert [problem.where for problem in caught.value.problems] == [where]
    assert text in str(caught.value)


def test_replicas_that_share_one_slot_can_never_be_hedged() -> None:
    raw = with_stage(device="gpu")
    with pytest.raises(ConfigError, match="the replicas share 1 slot of device gpu"):
        parse_config({**raw, "devices": {"gpu": {"slots": 1}}})
    parse_config({**raw, "devices": {"gpu": {"slots": 2}}})


def test_slow_batches_are_hedged_on_real_processes(tmp_path: Path) -> None:
    ms = 1_000_000
    source = SlowAtFirst("x", "y", factor=2.0, folder=str(tmp_path), slow_s=0.3)
    pipeline = one(Hedge(after_ns=60 * ms), max_batch=2)
    inputs = {"x": np.arange(30 * WIDTH, dtype=np.float32).reshape(30, WIDTH)}
    inputs["x"][3, 0], inputs["x"][25, 0] = -7, -9
    with Executor(pipeline, {"s": source}) as executor:
        result = executor.run(Workload.of(np.arange(30, dtype=np.int64) * 20 * ms), inputs)
    log, batches = result.log, result.log.stages[0].batches
    assert check(log) == []
    assert (log.requests.outcome == Outcome.COMPLETED).all()
    np.testing.assert_array_equal(result.answers["y"], 2 * inputs["x"])
    # What was discarded took a worker's time, and nobody waited for it.
    slow = np.flatnonzero(batches.discarded & (batches.attempt == 1))
    assert len(slow) == 2
    assert ((batches.finished_ns - batches.dispatched_ns)[slow] > 300 * ms).all()
    assert (visit_times(log, 0).service_ns > 60 * ms).sum() >= 2
    replayed = replay_pipeline(pipeline, log).stages[0].batches
    np.testing.assert_array_equal(replayed.discarded, batches.discarded)


def test_both_copies_of_a_batch_share_a_device_of_two_slots() -> None:
    stage = one(Hedge(after_ns=10), device=("d", "d")).stages[0]
    other = Stage("t", Immediate(), predicted_ns, device=("d",))
    pipeline = Pipeline((stage, other), (Device("d", 2),))
    log = run(pipeline, times(([50], [10]), ([30], [30])), at(0))
    # The second slot is taken by the other stage until 30.
    assert rows(log) == [(0, 1, 0, 0, 40, True), (0, 2, 1, 30, 40, False)]
