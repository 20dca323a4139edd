"""Branches that a degraded stage skips: who goes on without them, when, and what is recorded of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import delayline.loading  # noqa: F401  (makes every kind known)
from configs.errors import ConfigError
from configs.load import parse_config
from policies.contract import State, View
from policies.degrade import Degrade, Level
from policies.hedge import Hedge
from policies.hysteresis import Hysteresis
from policies.immediate import Immediate
from policies.merge_side_by_side import SideBySide
from policies.pipeline import Pipeline, Stage
from policies.runlog import Outcome, RunLog
from policies.workload import Workload
from reports import records
from reports.explain import explain
from reports.invariants import check
from reports.metrics import measure
from reports.paths import joins, paths
from reports.reasons import visit_reasons
from reports.run import Run
from reports.timeline import timeline
from sim.service.deterministic import Deterministic
from sim.service_times import ModelTimes
from sim.simulate import replay_pipeline, run, simulate
from sim.streams import stream
from tests.keyed_pipelines import COALESCE, LOCALITY, failing, keyed_workloads, simulated
from tests.pipeline_strategies import (
    ARRIVALS,
    SKIP,
    choosing_pipelines,
    skipping_pipelines,
    workload_of,
)


@dataclass(frozen=True, slots=True)
class Always(Degrade):
    """At the last level, whatever it sees."""

    kind: ClassVar[str] = "test-always"

    @staticmethod
    def rule(view: View, now_ns: int, state: State, levels: int) -> int:
        return levels


def branch(name: str, *parents: str, **more: object) -> Stage:
    settings: dict[str, object] = {"policy": Immediate(), "predict_ns": lambda n: 100 * n}
    return Stage(name, parents=parents, **{**settings, **more})  # type: ignore[arg-type]


def skipped(name: str, *parents: str, below: tuple[Level, ...] = ()) -> Stage:
    return branch(name, *parents, levels=(*below, SKIP), degrade=Always())


def join(*parents: str, **more: object) -> Stage:
    return branch("join", *parents, merge=SideBySide(quorum=len(parents), **more))  # type: ignore[arg-type]


def ran(
    stages: list[Stage], arrival_ns: list[int], service_ns: dict[str, int], engine: str = "simpy"
) -> RunLog:
    pipeline = Pipeline(tuple(stages))
    times = [
        ModelTimes(Deterministic(service_ns.get(stage.name, 10)), stream(1, 0, stage.name))
        for stage in stages
    ]
    log = run(pipeline, times, Workload.of(np.array(arrival_ns, np.int64)), engine=engine)  # type: ignore[arg-type]
    assert check(log) == []
    return log


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_join_waits_for_the_branches_that_are_left(engine: str) -> None:
    stages = [branch("a"), branch("b"), skipped("c"), join("a", "b", "c")]
    log = ran(stages, [0, 1000], {"a": 30, "b": 70, "c": 500}, engine)
    assert log.requests.ended_ns.tolist() == [80, 1080]
    assert len(log.stages[2].batches.batch) == 0
    assert log.stages[2].skipped is not None
    assert log.stages[2].skipped.request.tolist() == [0, 1]
    assert log.stages[2].skipped.at_ns.tolist() == [0, 1000]
    assert log.requests.level.tolist() == [1, 1]
    (meeting,) = [each for each in joins(log) if each.name]
    assert (paths(log).in_time(meeting) < 0).tolist() == [[False] * 2, [False] * 2, [True] * 2]


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_the_last_branch_is_served_at_the_level_before(engine: str) -> None:
    stages = [skipped("a"), skipped("b", below=(Level(0.5),)), join("a", "b")]
    log = ran(stages, [0], {"a": 100, "b": 40}, engine)
    # Downstream first: b is skipped, and a, whose only other level is full service, is left.
    assert log.stages[0].batches.level is not None
    assert log.stages[0].batches.level.tolist() == [0]
    assert log.stages[1].skipped is not None
    assert (log.stages[1].skipped.level, log.stages[1].skipped.request.tolist()) == (2, [0])
    assert log.requests.ended_ns.tolist() == [110]
    other = [skipped("b", below=(Level(0.5),)), skipped("a"), join("a", "b")]
    log = ran(other, [0], {"a": 100, "b": 40}, engine)
    assert log.requests.ended_ns.tolist() == [30]
    assert log.requests.level.tolist() == [1]


def test_a_batch_is_served_for_those_alone_who_have_no_other_branch() -> None:
    a = branch("a", levels=(SKIP,), degrade=Always(), max_batch=4)
    stages = [branch("fork"), replace(a, parents=("fork",)), skipped("b", "fork"), join("a", "b")]
    log = ran(stages, [0, 1, 2], {"fork": 5, "a": 50})
    left = log.stages[2].skipped
    assert left is not None
    assert left.request.tolist() == [0, 1, 2]
    assert log.stages[1].skipped is not None
    assert len(log.stages[1].skipped.request) == 0
    assert log.stages[1].batches.requests.sum() == 3


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_branch_of_several_stages_is_skipped_whole(engine: str) -> None:
    stages = [skipped("a"), branch("then", "a"), branch("b"), join("then", "b")]
    log = ran(stages, [0], {"a": 100, "then": 100, "b": 40}, engine)
    assert log.requests.ended_ns.tolist() == [50]
    assert len(log.stages[1].visits.request) == 0


def test_a_branch_that_is_done_goes_on_at_once_when_the_other_is_skipped() -> None:
    """The other one's replica is busy until 100 with the first request, and asked then."""
    late = Hysteresis(raise_above_ns=50, lower_below_ns=10, hold_ns=10**6)
    slow = branch("slow", levels=(SKIP,), degrade=late)
    stages = [slow, branch("fast"), join("slow", "fast")]
    log = ran(stages, [0, 1, 2], {"slow": 100, "fast": 10, "join": 7})
    assert log.stages[0].skipped is not None
    assert log.stages[0].skipped.request.tolist() == [1, 2]
    assert log.requests.ended_ns.tolist() == [107, 114, 121]
    waits = visit_reasons(log, 0)
    assert (waits.over_ns - waits.enqueued_ns).tolist() == [100, 99, 98]
    assert waits.parts["service"].tolist() == [100, 0, 0]


@given(skipping_pipelines(), ARRIVALS)
def test_whatever_is_skipped_is_accounted_for(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]]
) -> None:
    workload = workload_of(arrivals)
    times = [ModelTimes(Deterministic(25), stream(1, 0, "x")) for _ in pipeline.stages]
    log = run(pipeline, times, workload, engine="simpy")
    assert check(log) == []
    (meeting,) = [each for each in joins(log) if each.name]
    done = log.requests.outcome == Outcome.COMPLETED
    came_ns = paths(log).in_time(meeting)
    assert (came_ns.max(axis=0)[done] >= 0).all()
    for spec, logged in zip(pipeline.stages, log.stages, strict=True):
        assert (logged.skipped is not None) == bool(spec.skips_at)
        if logged.skipped is None:
            continue
        who = logged.skipped.request
        assert len(set(who.tolist())) == len(who)
        assert (log.requests.level[who] >= logged.skipped.level).all()
        if spec.name in pipeline.stages[-1].parents:
            branch_of = meeting.parents.index([each.name for each in log.stages].index(spec.name))
            assert (came_ns[branch_of][who] < 0).all()


@given(skipping_pipelines() | choosing_pipelines(), keyed_workloads(), st.data())
def test_nobody_is_lost_where_replicas_are_and_stages_look_at_keys(
    pipeline: Pipeline, workload: Workload, data: st.DataObject
) -> None:
    stages = tuple(
        replace(
            stage,
            coalesce=data.draw(st.none() | COALESCE),
            locality=data.draw(st.none() | LOCALITY),
            hedge=data.draw(st.sampled_from([None, Hedge(after_ns=15)])),
        )
        for stage in pipeline.stages
    )
    pipeline = replace(pipeline, stages=stages)
    seed = data.draw(st.integers(0, 999))
    beside = data.draw(st.sampled_from([None, failing(pipeline, seed)]))
    assert check(simulated(pipeline, workload, seed, beside)) == []


CONFIG = {
    "workload": {
        "arrivals": {
            "kind": "mmpp",
            "rates": ["100/s", "900/s"],
            "sojourn": ["400ms", "100ms"],
        },
        "requests": 4000,
    },
    "stages": [
        {"name": "fork", "max_batch": 8, "service": "100us"},
        {"name": "fast", "after": "fork", "max_batch": 8, "service": "1ms"},
        {
            "name": "slow",
            "after": "fork",
            "max_batch": 4,
            "service": {"kind": "affine", "base": "4ms", "per_request": "2ms"},
            "levels": [{"cost": 0.5}, {"skip": True}],
            "degrade": {
                "kind": "hysteresis",
                "raise_above": "15ms",
                "lower_below": "5ms",
                "hold": "30ms",
            },
        },
        {
            "name": "rank",
            "after": ["fast", "slow"],
            "max_batch": 8,
            "merge": {"kind": "side_by_side", "quorum": 2},
            "service": "500us",
        },
    ],
}


def test_figures_count_who_was_skipped(tmp_path: Path) -> None:
    log = simulate(parse_config(CONFIG))
    assert log.info["engine"] == "compiled"
    metrics = measure(log)
    slow = metrics.stages[2]
    left = log.stages[2].skipped
    assert left is not None
    assert 0 < len(left.request) < 4000
    assert slow.skipped_share == len(left.request) / 4000
    levels = log.stages[2].batches.level
    assert levels is not None
    sent = int((levels * log.stages[2].batches.requests).sum())
    assert slow.mean_level == (sent + 2 * len(left.request)) / 4000
    assert metrics.stages[1].skipped_share is None
    assert metrics.level_shares is not None
    assert metrics.level_shares[2] == len(left.request) / 4000
    line = timeline(log).stages[2]
    assert line.level is not None
    assert np.nanmax(line.level) > 1
    full = measure(simulate(parse_config(CONFIG, overrides=["stages.slow.levels=[{cost: 1}]"])))
    assert (metrics.latency.p99_ms or 0) < (full.latency.p99_ms or 0) / 2

    records.write(tmp_path / "run", Run("run", log))
    again = records.read(tmp_path / "run").log.stages[2].skipped
    assert again is not None
    assert again.level == left.level
    np.testing.assert_array_equal(again.request, left.request)
    np.testing.assert_array_equal(again.at_ns, left.at_ns)


def test_a_replay_skips_as_the_run_did() -> None:
    config = parse_config(CONFIG, overrides=["workload.requests=500"])
    log = simulate(config)
    from sim.simulate import open_workload, pipeline_for

    again = replay_pipeline(pipeline_for(config, open_workload(log)), log)
    np.testing.assert_array_equal(log.requests.ended_ns, again.requests.ended_ns)
    np.testing.assert_array_equal(log.requests.level, again.requests.level)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "stages.slow.levels=[{skip: true, take: 5}]",
            "stages.slow.levels[0].take: is given beside skip",
        ),
        (
            "stages.slow.levels=[{skip: true, cost: 0.1}]",
            "stages.slow.levels[0].cost: is given beside skip",
        ),
        (
            "stages.slow.levels=[{skip: true}, {cost: 0.5}]",
            "stages.slow.levels[0].skip: is not the last level (1 after it)",
        ),
        (
            "stages.rank.merge={kind: side_by_side}",
            "stages.slow.levels[1].skip: its branch ends in rank, which waits for all its 2 branches;"
            " give that a merge with quorum: 2",
        ),
        (
            "stages.rank.merge=null",
            "its branch ends in rank, which waits for all its 2 branches",
        ),
        (
            "stages.rank.levels=[{skip: true}]",
            "stages.rank.levels[0].skip: is on no branch that ends in a join: no stage comes after it",
        ),
        (
            "stages.fork.levels=[{skip: true}]",
            "stages.fork.levels[0].skip: is on no branch that ends in a join: 2 stages come after it",
        ),
        ("stages.slow.levels=[{skip: false}]", "stages.slow.levels[0].cost: is missing"),
    ],
)
def test_what_cannot_be_skipped_is_refused(change: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(CONFIG, overrides=[change])
    assert message in str(caught.value)


def test_a_request_s_story_tells_its_levels() -> None:
    stages = [branch("a"), skipped("b", below=(Level(0.5),)), join("a", "b")]
    told = explain(ran(stages, [0], {"a": 30}), 0).visits
    assert [(each.stage, each.level, each.skipped) for each in told] == [
        ("a", 0, False),
        ("b", 2, True),
        ("join", 0, False),
    ]
