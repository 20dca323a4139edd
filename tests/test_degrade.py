"""Degradation: the rule by itself, and what becomes of batches that are served more cheaply."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

import delayline.loading  # noqa: F401  (makes every kind known)
from configs.errors import ConfigError
from configs.load import parse_config
from policies.contract import NEVER_NS, View
from policies.degrade import Degrading, Level
from policies.fixed import Fixed
from policies.hysteresis import Hysteresis
from policies.immediate import Immediate
from policies.pipeline import Pipeline, Stage
from policies.runlog import RunLog
from policies.workload import Workload
from reports import records
from reports.invariants import check
from reports.metrics import measure
from reports.run import Run
from reports.timeline import timeline
from sim.engines import Engine
from sim.service.deterministic import Deterministic
from sim.service_times import ModelTimes
from sim.simpy_driver import SimpyDriver
from sim.simulate import Beside, replay_pipeline, run
from sim.streams import stream
from tests.pipeline_strategies import ARRIVALS, Whimsical, pipelines, workload_of

UP_NS, DOWN_NS, HOLD_NS = 40, 10, 100
RULE = Hysteresis(raise_above_ns=UP_NS, lower_below_ns=DOWN_NS, hold_ns=HOLD_NS)
LEVELS = (Level(0.6), Level(0.25), Level(0.2))


def seen(oldest_ns: int, last_ns: int) -> View:
    """A queue of such an age; nothing else matters."""
    idle = (1, 1, 0, NEVER_NS, last_ns, 4, 0.0, 0.0, 0.0, (0, 9, 9, 9, 9))
    return View(1, 1, 1, oldest_ns, NEVER_NS, *idle, 0, 0, NEVER_NS, 0, (0,), NEVER_NS, 0)


@given(
    st.lists(st.tuples(st.integers(0, 150), st.integers(0, 140)), min_size=1, max_size=60),
    st.integers(1, 3),
)
def test_hysteresis_goes_up_at_once_and_never_down_sooner_than_its_hold(
    sent: list[tuple[int, int]], levels: int
) -> None:
    """Of batches sent after such gaps, whose oldest request has waited for so long."""
    degrading = Degrading(RULE, levels)
    now_ns = last_ns = 0
    level = 0
    old_ns = down_ns = -math.inf
    """When a batch was last sent that was not young, and when the level last came down."""
    for gap_ns, age_ns in sent:
        now_ns += gap_ns
        before, level = level, degrading.level(seen(now_ns - age_ns, last_ns), now_ns)
        last_ns = now_ns
        assert 0 <= level <= levels
        if age_ns > DOWN_NS:
            old_ns = now_ns
            assert level == max(before, min(age_ns // UP_NS, levels))
        else:
            assert level <= before
        if level < before:
            assert now_ns - max(old_ns, down_ns) >= (before - level) * HOLD_NS
            down_ns = now_ns


def test_a_queue_that_has_been_empty_for_long_was_young_all_the_while() -> None:
    degrading = Degrading(RULE, 3)
    assert degrading.level(seen(0, -1), 3 * UP_NS) == 3
    last_ns = 3 * UP_NS
    assert degrading.level(seen(last_ns + 5, last_ns), last_ns + 5) == 3
    last_ns += 5
    later_ns = 3 * UP_NS + 2 * HOLD_NS
    assert degrading.level(seen(later_ns, last_ns), later_ns) == 1


def burst(requests: int = 400) -> Workload:
    """Calm, then twice what the stage bears in full, then calm."""
    calm_ns, storm_ns = [200] * requests, [25] * requests
    return Workload.of(np.cumsum([*calm_ns, *storm_ns, *calm_ns]))


def stage(**changes: object) -> Stage:
    settings: dict[str, object] = {
        "policy": Immediate(),
        "predict_ns": lambda n: 100 if n else 0,
        "max_batch": 2,
        "levels": LEVELS,
        "degrade": Hysteresis(raise_above_ns=300, lower_below_ns=100, hold_ns=2000),
    }
    return Stage("rank", **{**settings, **changes})  # type: ignore[arg-type]


def ran(
    pipeline: Pipeline,
    workload: Workload,
    service_ns: int = 100,
    engine: Engine = "auto",
    beside: Beside | None = None,
) -> RunLog:
    times = [
        ModelTimes(Deterministic(service_ns), stream(1, 0, str(k)))
        for k in range(len(pipeline.stages))
    ]
    return run(pipeline, times, workload, engine=engine, beside=beside)


def test_a_burst_is_served_more_cheaply_and_full_service_comes_back() -> None:
    cheap, full = (
        ran(Pipeline((each,)), burst()) for each in (stage(), stage(levels=(), degrade=None))
    )
    assert cheap.info["engine"] == "compiled"
    level = cheap.requests.level
    assert set(level[:400]) == {0}
    assert level[400:800].max() >= 1
    assert set(level[-200:]) == {0}
    slowest = [
        int((log.requests.ended_ns - log.requests.arrival_ns).max()) for log in (cheap, full)
    ]
    assert slowest[0] < slowest[1] / 5
    assert not full.requests.level.any()
    assert full.stages[0].batches.level is None


@given(pipelines(), ARRIVALS)
def test_whatever_is_degraded_is_accounted_for(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]]
) -> None:
    log = ran(pipeline, workload_of(arrivals), 40, engine="simpy")
    assert check(log) == []
    for spec, logged in zip(pipeline.stages, log.stages, strict=True):
        batches = logged.batches
        assert (batches.level is not None) == (bool(spec.levels) and spec.degrade is not None)
        if batches.level is None:
            continue
        assert ((batches.level >= 0) & (batches.level <= len(spec.levels))).all()
        cost = np.array([1.0, *(each.cost for each in spec.levels)])
        took_ns = batches.finished_ns - batches.dispatched_ns
        over = batches.finished_ns < log.end_ns
        assert (took_ns[over] == np.rint(40 * cost[batches.level[over]])).all()


def test_a_level_is_the_highest_of_all_stages_and_told_by_stage() -> None:
    other = replace(
        stage(degrade=Whimsical(weights=(2, 2, 2), share=2.0)), name="last", parents=("rank",)
    )
    log = ran(Pipeline((stage(), other)), burst())
    assert (log.requests.level >= 2).all()
    metrics = measure(log)
    assert metrics.stages[0].mean_level is not None
    assert 0 < metrics.stages[0].mean_level < 1
    assert metrics.stages[1].mean_level == 2
    assert metrics.level_shares is not None
    assert metrics.level_shares[:2] == (0, 0)
    assert sum(metrics.level_shares) == pytest.approx(1)
    assert metrics.to_json()["degraded_share"] == pytest.approx(1)
    line = timeline(log).stages[0].level
    assert line is not None
    assert line[0] == 0
    assert np.nanmax(line) >= 1
    plain = measure(ran(Pipeline((stage(levels=(), degrade=None),)), burst()))
    assert "mean_level" not in plain.to_json()


def test_what_is_sent_again_keeps_its_level() -> None:
    def lose(env: simpy.Environment, driver: SimpyDriver) -> None:
        def loses() -> object:
            for _ in range(30):
                yield env.timeout(2500)
                driver.lose(0, 0, returns=True)
                yield env.timeout(50)
                driver.restore(0, 0)

        env.process(loses())  # type: ignore[arg-type]

    log = ran(Pipeline((stage(replicas=2, policy=Fixed(30)),)), burst(), beside=lose)
    assert check(log) == []
    batches = log.stages[0].batches
    assert batches.level is not None
    again = np.flatnonzero(batches.attempt == 2)
    assert len(again) > 5
    first = [int(np.flatnonzero(batches.batch == batches.batch[row])[0]) for row in again]
    assert (batches.level[again] == batches.level[first]).all()


def test_a_replay_takes_measured_times_as_they_are() -> None:
    pipeline = Pipeline((stage(),))
    log = ran(pipeline, burst())
    again = replay_pipeline(pipeline, log)
    np.testing.assert_array_equal(log.requests.ended_ns, again.requests.ended_ns)
    np.testing.assert_array_equal(log.requests.level, again.requests.level)


def test_levels_survive_the_disk(tmp_path: Path) -> None:
    plain = replace(stage(levels=(), degrade=None), name="last", parents=("rank",))
    log = ran(Pipeline((stage(), plain)), burst(100))
    records.write(tmp_path / "run", Run("run", log))
    found = records.read(tmp_path / "run").log
    kept = found.stages[0].batches.level
    assert kept is not None
    np.testing.assert_array_equal(kept, log.stages[0].batches.level)
    assert found.stages[1].batches.level is None
    np.testing.assert_array_equal(found.requests.level, log.requests.level)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("levels=[{cost: 0.5}]", "stages.rank.levels: is given and degrade is not"),
        (
            "degrade={kind: hysteresis, raise_above: 9ms, lower_below: 3ms}",
            "stages.rank.degrade: is given and levels is not, so that there is nothing to go to",
        ),
        ("levels=[{}]", "stages.rank.levels[0].cost: is missing"),
        ("levels=[{cost: 0}]", "stages.rank.levels[0].cost: must be more than 0"),
        ("levels=[{cost: 1.5}]", "stages.rank.levels[0].cost: must be at most 1"),
        (
            "levels=[{cost: 0.5, take: 10}]",
            "stages.rank.levels[0].take: is 10, less than keep (20)",
        ),
        (
            "levels=[{cost: 0.5, take: 201}]",
            "stages.rank.levels[0].take: is 201, more than the 200 candidates that come in",
        ),
        (
            "levels=[{cost: 0.5}, {cost: 0.7}]",
            "stages.rank.levels[1].cost: is 0.7, more than at the level before (0.5)",
        ),
        (
            "degrade={kind: hysteresis, raise_above: 3ms, lower_below: 3ms}",
            "lower_below (3ms) must be less than raise_above (3ms)",
        ),
        (
            "degrade={kind: hysteresis, raise_above: 0ms, lower_below: 0ms}",
            "stages.rank.degrade.raise_above: must be more than 0",
        ),
        ("degrade={kind: brownout}", "there is no degrade kind 'brownout'"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: str, message: str) -> None:
    stages = [{"name": "recall", "keep": 200}, {"name": "rank", "keep": 20}]
    with pytest.raises(ConfigError) as caught:
        parse_config({"stages": stages}, overrides=[f"stages.rank.{changes}"])
    assert message in str(caught.value)
