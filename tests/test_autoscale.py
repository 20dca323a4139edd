"""Autoscaling: what is advised, when replicas come and go, what they cost, and that nothing is lost."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.kinds  # noqa: F401  (registers the kinds)
from configs.errors import ConfigError
from configs.load import parse_config
from executors.executor import Executor
from policies.autoscale import Autoscale
from policies.immediate import Immediate
from policies.pipeline import Pipeline, Stage
from policies.runlog import Outcome, RunLog, StageLog
from policies.workload import Workload
from reports.html import render
from reports.invariants import check
from reports.metrics import measure
from reports.records import read, write
from reports.run import Run
from reports.steps import mean_level
from reports.timeline import timeline
from sim.engines import EngineError
from sim.planning.problem import pools_of
from sim.service_times import ReplayTimes
from sim.simpy_driver import SimpyDriver
from sim.simulate import run, simulate
from sim.tuning.costs import cost_of
from tests.executor_models import WIDTH, Linear
from tests.pipeline_strategies import (
    ARRIVALS,
    pipelines,
    predicted_ns,
    workload_of,
)
from tests.test_executor_properties import play
from tests.test_hedge import hedged_pipelines

MANY = 3 * settings.get_profile(settings.get_current_profile_name()).max_examples


@pytest.mark.parametrize(
    ("current", "demand", "advised"),
    [
        (4, 2.8, 4),  # just right
        (4, 3.0, 4),  # within the tolerance
        (4, 3.2, 5),
        (4, 4.0, 6),  # all busy: by 1 / 0.7 at most
        (4, 1.4, 2),  # exactly two
        (4, 0.0, 1),
        (8, 8.0, 10),  # ceil(8 / 0.7) is 12: bounded
        (3, 2.1, 3),
    ],
)
def test_the_rule_is_that_of_the_horizontal_pod_autoscaler(
    current: int, demand: float, advised: int
) -> None:
    assert Autoscale(target=0.7, max=10).desired(current, demand) == advised


def test_requests_that_wait_or_run_are_another_measure() -> None:
    rule = Autoscale(target_ongoing=2, max=100, tolerance=0)
    assert [rule.desired(4, demand) for demand in (8, 9, 80, 1)] == [4, 5, 40, 1]


def test_fewer_only_as_far_as_the_whole_delay_allows() -> None:
    rule = Autoscale(target=0.5, max=10)
    assert rule.settled(6, [6, 3, 4, 2]) == 6
    assert rule.settled(6, [3, 4, 2]) == 4
    assert rule.settled(6, [3, 9]) == 9
    assert rule.settled(4, [9, 3]) == 4  # what was advised before does not make it more


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({}, "needs target or target_ongoing"),
        ({"target": 0.5, "target_ongoing": 2}, "has both target and target_ongoing; keep one"),
        ({"target": 0.5, "min": 5}, r"min must be at most max \(4\), not 5"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Autoscale(max=4, **keys)


def one(rule: Autoscale, start: int = 1, **more: Any) -> Pipeline:
    stage = Stage("s", Immediate(), predicted_ns, rule.max, autoscale=rule, start=start)
    return Pipeline((replace(stage, **more),))


def taking(time_ns: int) -> list[ReplayTimes]:
    return [ReplayTimes(np.array([time_ns], np.int64))]


def evenly(count: int, gap_ns: int, first_ns: int = 0) -> Workload:
    return Workload.of(first_ns + np.arange(count, dtype=np.int64) * gap_ns)


QUICK = Autoscale(
    target=0.5, max=4, interval_ns=100, cold_start_ns=30, scale_down_delay_ns=0, tolerance=0
)


def test_replicas_come_after_their_cold_start() -> None:
    log = run(one(QUICK), taking(50), evenly(12, 50))
    # One replica is always busy: two are wanted from 100 on, and there at 130.
    stage = log.stages[0]
    assert stage.replicas == 4
    assert stage.off[0] == (1, 0, 100)
    assert stage.down[0] == (1, 0, 130)
    assert stage.off[1:] == ((2, 0, 600), (3, 0, 600))
    assert check(log) == []
    # Nobody needed it: at 200 one of two had been busy, which is the target.
    assert stage.batches.replica.tolist() == [0] * 12
    cost = measure(log).cost
    assert cost.replica_seconds == pytest.approx((600 + 500) * 1e-9)
    assert measure(log).stages[0].utilization == pytest.approx(600 / 1100)


def test_a_replica_that_goes_finishes_its_batch_first() -> None:
    # 60 ns from 0 and twice 5 ns before 100: 0.7 of two replicas were busy, one is enough.
    rule = replace(QUICK, target=1.0, max=2)
    workload = Workload.of(np.array([0, 95, 95, 120], np.int64))
    log = run(one(rule, start=2), taking(60), workload)
    stage = log.stages[0]
    # At 100 both are busy: the younger goes at the end of its batch, 155; its work waits for the other.
    # By 200 1.55 of one were busy: it is started again.
    assert stage.off == ((1, 155, 200),)
    assert stage.batches.replica.tolist() == [0, 0, 1, 0]
    assert stage.batches.dispatched_ns.tolist() == [0, 95, 95, 155]
    assert check(log) == []


def test_one_that_was_to_go_stays_if_it_is_wanted_again() -> None:
    rule = replace(QUICK, target=1.0, max=2)
    # Two batches of 300 ns from 95 on: at 100 one is enough, at 200 two are.
    log = run(one(rule, start=2), taking(300), Workload.of(np.array([95, 95], np.int64)))
    assert log.stages[0].off == ()


def test_scaling_down_waits_for_the_delay() -> None:
    rule = replace(QUICK, target=1.0, max=2, scale_down_delay_ns=250)
    log = run(one(rule, start=2), taking(10), evenly(8, 100))
    # Enough at 100, 200, 300, but of what was advised within 250 ns the start's 2 is gone only at 300.
    assert log.stages[0].off[0][:2] == (1, 300)


def test_what_waits_counts_as_demand() -> None:
    rule = Autoscale(target_ongoing=1, max=8, interval_ns=100, tolerance=0, scale_down_delay_ns=0)
    log = run(one(rule), taking(1000), evenly(5, 1))
    # Five wait or run at all ten counts, or nearly: five replicas from 100 on.
    assert Counter(spell[2] for spell in log.stages[0].off)[100] == 4
    assert log.requests.ended_ns.max() == 1100


def test_an_answer_to_a_shortage_is_not_given_twice() -> None:
    rule = replace(QUICK, cold_start_ns=1000, max=10)
    log = run(one(rule), taking(50), evenly(20, 50))
    # The replica that starts counts as there: 1 busy of 2 is the target.
    assert [spell for spell in log.stages[0].off if spell[2] < 900] == [(1, 0, 100)]


@st.composite
def scaled_pipelines(draw: st.DrawFn, base: st.SearchStrategy[Pipeline]) -> Pipeline:
    pipeline = draw(base)
    stages = []
    for stage in pipeline.stages:
        ongoing = draw(st.booleans())
        rule = Autoscale(
            target=None if ongoing else draw(st.sampled_from([0.3, 0.8])),
            target_ongoing=draw(st.sampled_from([0.5, 3.0])) if ongoing else None,
            min=draw(st.integers(1, stage.replicas)),
            max=stage.replicas,
            interval_ns=draw(st.integers(5, 60)),
            cold_start_ns=draw(st.integers(0, 40)),
            scale_down_delay_ns=draw(st.sampled_from([0, 50])),
            tolerance=0.05,
        )
        start = draw(st.integers(rule.min, rule.max))
        scaled = replace(stage, autoscale=rule, start=start)
        stages.append(scaled if draw(st.integers(0, 3)) else stage)
    return replace(pipeline, stages=tuple(stages))


SCALED = st.one_of(scaled_pipelines(pipelines()), scaled_pipelines(hedged_pipelines()))


def replicas_at_least(pipeline: Pipeline, log: RunLog) -> None:
    """No stage is ever below its fewest replicas, nor does one serve while it is not there."""
    for spec, stage in zip(pipeline.stages, log.stages, strict=True):
        if spec.autoscale is None:
            assert stage.off == ()
            continue
        assert most_off(stage) <= spec.replicas - spec.autoscale.min
        for replica, from_ns, to_ns in stage.off:
            inside = (stage.batches.replica == replica) & (stage.batches.finished_ns > from_ns)
            assert not (inside & (stage.batches.dispatched_ns < to_ns)).any()


def most_off(stage: StageLog) -> int:
    changes = sorted((at, step) for _, a, b in stage.off for at, step in ((a, 1), (b, -1)))
    return max(np.cumsum([step for _, step in changes]).tolist(), default=0)


def drawn(pipeline: Pipeline, seed: int) -> list[ReplayTimes]:
    rng = np.random.default_rng(seed)
    return [ReplayTimes(rng.integers(0, 40, 99)) for _ in pipeline.stages]


@settings(max_examples=MANY)
@given(SCALED, ARRIVALS, st.integers(0, 2**16))
def test_every_scaled_run_keeps_the_invariants(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int
) -> None:
    log = run(pipeline, drawn(pipeline, seed), workload_of(arrivals), engine="simpy")
    assert check(log) == []
    assert Outcome.PENDING not in log.requests.outcome
    replicas_at_least(pipeline, log)


@given(SCALED, ARRIVALS, st.integers(0, 2**16), st.integers(0, 2**16))
def test_replicas_may_be_lost_while_others_come_and_go(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int, trouble: int
) -> None:
    def failures(env: simpy.Environment, driver: SimpyDriver) -> None:
        rng = np.random.default_rng(trouble)

        def fail() -> object:
            for _ in range(8):
                yield env.timeout(int(rng.integers(1, 60)))
                here = driver.scheduler.stages[int(rng.integers(len(pipeline.stages)))]
                up = [r for r, b in enumerate(here.running) if b is not None or here.idle >> r & 1]
                if up:
                    replica = int(rng.choice(up))
                    driver.lose(here.index, replica, returns=True)
                    yield env.timeout(int(rng.integers(1, 30)))
                    driver.restore(here.index, replica)

        env.process(fail())  # type: ignore[arg-type]

    log = run(pipeline, drawn(pipeline, seed), workload_of(arrivals), beside=failures)
    assert check(log) == []
    assert Outcome.PENDING not in log.requests.outcome


@settings(deadline=None)
@given(SCALED, ARRIVALS, st.integers(0, 2**16), st.sampled_from([0.0, 0.1, 0.5]))
def test_the_dispatcher_hedges_and_scales_without_losing_a_request(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int, trouble: float
) -> None:
    played = play(pipeline, arrivals, seed, trouble)
    assert check(played.log) == []
    assert played.ends.times == Counter(range(len(arrivals)))
    assert played.payloads.under_way == 0
    replicas_at_least(pipeline, played.log)


CONFIG: dict[str, Any] = {
    "name": "day",
    "workload": {
        "arrivals": {"kind": "diurnal", "rate": "200/s", "amplitude": 0.9, "period": "100s"},
        "duration": "100s",
    },
    "stages": [
        {
            "name": "rank",
            "replicas": 3,
            "max_batch": 1,
            "service": {"kind": "exponential", "mean": "10ms"},
            "autoscale": {
                "target": 0.6,
                "max": 12,
                "interval": "2s",
                "cold_start": "1s",
                "scale_down_delay": "5s",
            },
        }
    ],
}


def with_stage(**keys: Any) -> dict[str, Any]:
    return {**CONFIG, "stages": [{**CONFIG["stages"][0], **keys}]}


def with_rule(**keys: Any) -> dict[str, Any]:
    return with_stage(autoscale={**CONFIG["stages"][0]["autoscale"], **keys})


def test_a_day_is_followed_at_less_cost_and_is_recorded(tmp_path: Path) -> None:
    log = simulate(parse_config(CONFIG))
    assert log.info["engine_reason"] == "stage rank: its replicas come and go"
    assert check(log) == []
    line = timeline(log).stages[0]
    assert line.replicas is not None
    assert line.paid is not None
    assert line.replicas.max() >= 6
    assert line.replicas.min() == 1
    assert (line.paid >= line.replicas - 1e-9).all()
    # Busy is near its target while the load rises; later the delay keeps replicas that it could spare.
    rising = timeline(log).bins.middle_s < 25
    assert line.utilization[rising].mean() == pytest.approx(0.6, abs=0.05)
    fixed = measure(simulate(parse_config(with_stage(autoscale=None, replicas=7))))
    scaled = measure(log)
    assert scaled.cost.replica_seconds < 0.7 * fixed.cost.replica_seconds
    assert scaled.cost.busy_seconds == fixed.cost.busy_seconds
    off = np.array(log.stages[0].off, np.int64)
    paid = 12 - mean_level(off[:, 1], off[:, 2], np.array([0, log.end_ns]))
    assert scaled.cost.replica_seconds == pytest.approx(float(paid[0]) * log.end_ns / 1e9)
    write(tmp_path / "run", Run("day", log))
    again = read(tmp_path / "run")
    assert again.log.stages[0].off == log.stages[0].off
    assert "Replicas that serve" in render([again])
    with pytest.raises(EngineError, match="its replicas come and go"):
        simulate(parse_config(CONFIG), engine="compiled")


@pytest.mark.parametrize(
    ("raw", "where", "text"),
    [
        (with_rule(target=1.5), "stages.rank.autoscale.target", "must be at most 1, not 1.5"),
        (with_rule(target=0), "stages.rank.autoscale.target", "must be more than 0, not 0"),
        (with_rule(min=13), "stages.rank.autoscale", "min must be at most max (12), not 13"),
        (with_rule(min=0), "stages.rank.autoscale.min", "must be at least 1, not 0"),
        (with_rule(cold_start="-1s"), "stages.rank.autoscale.cold_start", "must not be negative"),
        (with_rule(interval="0s"), "stages.rank.autoscale.interval", "must be more than 0"),
        (with_rule(target_ongoing=2), "stages.rank.autoscale", "has both target and target_ongoin"),
        (with_stage(replicas=13), "stages.rank.replicas", "must be 1 to 12, as autoscale has it"),
        (with_stage(autoscale={"target": 0.5}), "stages.rank.autoscale.max", "is missing"),
    ],
)
def test_what_makes_no_sense_is_refused(raw: dict[str, Any], where: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw)
    assert [problem.where for problem in caught.value.problems] == [where]
    assert text in str(caught.value)


def test_replicas_that_come_and_go_have_one_device() -> None:
    raw = with_stage(device=["x", "x", "y"])
    with pytest.raises(ConfigError, match="autoscale brings replicas that are not listed"):
        parse_config({**raw, "devices": {"x": {"slots": 9}, "y": {"slots": 1}}})
    log = simulate(
        parse_config(
            {
                **with_stage(device="x"),
                "devices": {"x": {"slots": 9}},
                "workload": {"arrivals": "500/s", "duration": "10s"},
            }
        )
    )
    assert check(log) == []
    assert log.stages[0].replica_devices == (0,) * 12


def test_what_counts_replicas_beforehand_says_so() -> None:
    config = parse_config({**CONFIG, "objective": {"latency": "50ms"}})
    with pytest.raises(ConfigError, match=r"stages\.rank\.autoscale.*planning finds how many"):
        pools_of(config)
    with pytest.raises(ConfigError, match="tune for `--cost busy`"):
        cost_of(config, (), "paid")


def test_workers_come_and_go_on_real_processes() -> None:
    ms = 1_000_000
    rule = Autoscale(target=0.5, max=2, interval_ns=250 * ms, scale_down_delay_ns=0, tolerance=0.1)
    pipeline = one(rule, max_batch=1)
    source = Linear("x", "y", factor=2.0, work_s=0.02)
    began_s = time.monotonic()
    with Executor(pipeline, {"s": source}) as executor:
        # Busy all the time until a second worker is up, which takes as long again, then hardly ever.
        busy = int((1.3 * (time.monotonic() - began_s) + 1) / 0.022)
        gaps = np.concatenate([np.full(busy, 22), np.full(15, 100)]) * ms
        inputs = {"x": np.arange(len(gaps) * WIDTH, dtype=np.float32).reshape(-1, WIDTH)}
        results = [
            executor.run(Workload.of(np.cumsum(gaps)), inputs),
            executor.run(evenly(10, 30 * ms), {"x": inputs["x"][:10]}),
        ]
    for result in results:
        assert check(result.log) == []
        assert (result.log.requests.outcome == Outcome.COMPLETED).all()
        assert result.log.info["workers_lost"] == 0
        replicas_at_least(pipeline, result.log)
    np.testing.assert_array_equal(results[0].answers["y"], 2 * inputs["x"])
    stage = results[0].log.stages[0]
    first, second = sorted(stage.off, key=lambda spell: spell[1])[:2]
    assert first[:2] == (1, 0)
    down = sorted(stage.down, key=lambda spell: spell[1])[0]
    assert down[2] > first[2]  # a process takes its time to start
    assert second[1] >= down[2]
    assert all(a[2] <= b[1] for a, b in pairwise(sorted(stage.off, key=lambda s: s[1])))
    assert results[1].log.stages[0].off[0][:2] == (1, 0)
