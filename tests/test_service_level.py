"""Service levels: how far a request is degraded is chosen once, as it arrives, and holds on its whole way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given

import delayline.loading  # noqa: F401  (makes every kind known)
from configs.dump import dump_config
from configs.errors import ConfigError
from configs.load import load_config, parse_config
from executors.executor import Executor
from executors.levels import Cheaper
from policies.contract import State, View
from policies.degrade import Degrade, Level
from policies.immediate import Immediate
from policies.merge_side_by_side import SideBySide
from policies.pipeline import Pipeline, Stage
from policies.runlog import RunLog
from policies.service_level import NoBranchLeftError, skipped_branches
from policies.workload import Workload
from reports import records
from reports.invariants import check
from reports.run import Run
from sim.service.deterministic import Deterministic
from sim.service_times import ModelTimes
from sim.simulate import replay_pipeline, run, simulate
from sim.streams import stream
from tests.executor_models import WIDTH, Seen
from tests.pipeline_strategies import ARRIVALS, SKIP, choosing_pipelines, workload_of


@dataclass(frozen=True, slots=True)
class ByArrival(Degrade):
    """The level of a request is the number of the millionth of a second in which it arrives."""

    kind: ClassVar[str] = "test-by-arrival"

    @staticmethod
    def rule(view: View, now_ns: int, state: State, levels: int) -> int:
        return now_ns // 1000


@dataclass(frozen=True, slots=True)
class BehindFor(Degrade):
    """As many levels as the oldest request of the stage that is most behind has waited for spans of 100."""

    kind: ClassVar[str] = "test-behind-for"

    @staticmethod
    def rule(view: View, now_ns: int, state: State, levels: int) -> int:
        return (now_ns - view.oldest_enqueued_ns) // 100


def stage(name: str, *parents: str, **more: object) -> Stage:
    settings: dict[str, object] = {"policy": Immediate(), "predict_ns": lambda n: 100 * n}
    return Stage(name, parents=parents, **{**settings, **more})  # type: ignore[arg-type]


def following(name: str, *parents: str, levels: tuple[Level, ...], **more: object) -> Stage:
    return stage(name, *parents, levels=levels, by_request=True, **more)


def ran(
    pipeline: Pipeline, arrival_ns: list[int], service_ns: dict[str, int], engine: str
) -> RunLog:
    times = [
        ModelTimes(Deterministic(service_ns[each.name]), stream(1, 0, each.name))
        for each in pipeline.stages
    ]
    log = run(pipeline, times, Workload.of(np.array(arrival_ns, np.int64)), engine=engine)  # type: ignore[arg-type]
    assert check(log) == []
    return log


@given(choosing_pipelines(), ARRIVALS)
def test_a_request_is_served_at_its_level_on_its_whole_way(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]]
) -> None:
    times = [ModelTimes(Deterministic(25), stream(1, 0, "x")) for _ in pipeline.stages]
    log = run(pipeline, times, workload_of(arrivals), engine="simpy")
    assert check(log) == []
    level = log.requests.service_level
    assert level is not None
    assert ((level >= 0) & (level <= len(pipeline.levels))).all()
    table = np.array([(0,) * len(pipeline.stages), *pipeline.levels])
    for k, (spec, logged) in enumerate(zip(pipeline.stages, log.stages, strict=True)):
        visits = logged.visits.made()
        sent = visits.row >= 0
        due = table[level[visits.request], k]
        if not spec.levels:
            assert logged.batches.level is None
            continue
        assert logged.batches.level is not None
        assert (logged.batches.level[visits.row[sent]] == due[sent]).all()
        if spec.skips_at:
            assert logged.skipped is not None
            assert (table[level[logged.skipped.request], k] == spec.skips_at).all()
            assert (due[sent] < spec.skips_at).all()


BRANCHES = Pipeline(
    (
        stage("fork"),
        following("a", "fork", levels=(SKIP,)),
        following("b", "fork", levels=(Level(0.5), SKIP)),
        following("join", "a", "b", levels=(Level(0.5),), merge=SideBySide(quorum=2)),
    ),
    levels=((0, 1, 0), (1, 0, 1), (0, 2, 0)),
    degrade=ByArrival(),
)
LEVELS = tuple((0, *each) for each in BRANCHES.levels)
TIMES = {"fork": 10, "a": 200, "b": 100, "join": 60}


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_branches_are_missing_from_the_arrival_on(engine: str) -> None:
    pipeline = replace(BRANCHES, levels=LEVELS)
    log = ran(pipeline, [0, 1000, 2000, 3000], TIMES, engine)
    assert log.requests.service_level is not None
    assert log.requests.service_level.tolist() == [0, 1, 2, 3]
    took_ns = (log.requests.ended_ns - log.requests.arrival_ns).tolist()
    assert took_ns == [10 + 200 + 60, 10 + 200 + 60, 10 + 100 + 30, 10 + 200 + 60]
    assert log.requests.level.tolist() == [0, 1, 1, 2]
    one, other = log.stages[1].skipped, log.stages[2].skipped
    assert one is not None
    assert other is not None
    assert (one.request.tolist(), one.at_ns.tolist()) == ([2], [2010])
    assert (other.request.tolist(), other.at_ns.tolist()) == ([3], [3010])


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_what_has_gone_on_at_the_join_is_not_skipped_behind_it(engine: str) -> None:
    """The third branch is skipped and the second ends in a stage that is: the first is enough, and what
    the second has begun is of no use by the time that it is done.
    """
    pipeline = Pipeline(
        (
            stage("b0", levels=(SKIP,), by_request=True),
            stage("b1", levels=(SKIP,), by_request=True),
            stage("c1", "b1", levels=(SKIP,), by_request=True),
            stage("b2", levels=(SKIP,), by_request=True),
            stage("join", "b0", "c1", "b2", merge=SideBySide(quorum=3)),
        ),
        expire=True,
        levels=((0, 0, 1, 1, 0),),
        degrade=ByArrival(),
    )
    arrival_ns = np.array([1000, 1002, 1002])
    workload = Workload(
        arrival_ns, np.array([1001, 1025, 1037]), np.ones(3, np.int64), np.zeros(3, np.int8)
    )
    times = [
        ModelTimes(Deterministic(time_ns), stream(5, 0, str(k)))
        for k, time_ns in enumerate((12, 20, 12, 12, 12))
    ]
    log = run(pipeline, times, workload, engine=engine)  # type: ignore[arg-type]
    assert log.requests.ended_ns.tolist() == [1012, 1036, 1048]
    assert log.stages[2].skipped is not None
    assert log.stages[2].skipped.request.tolist() == []
    assert log.stages[2].visits.request.tolist() == []


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_batch_ends_before_a_request_of_another_level(engine: str) -> None:
    rank = following("rank", levels=(Level(0.5),), max_batch=8)
    pipeline = Pipeline((rank,), levels=((1,),), degrade=ByArrival())
    log = ran(pipeline, [0, 900, 950, 1000, 1050], {"rank": 990}, engine)
    batches = log.stages[0].batches
    assert batches.requests.tolist() == [1, 2, 2]
    assert batches.level is not None
    assert batches.level.tolist() == [0, 0, 1]
    assert batches.finished_ns.tolist() == [990, 1980, 1980 + 495]


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_what_is_seen_is_the_stage_that_is_most_behind(engine: str) -> None:
    first = following("first", levels=(Level(0.1),))
    last = stage("last", "first")
    pipeline = Pipeline((first, last), levels=((1, 0),), degrade=BehindFor())
    log = ran(pipeline, [0, 20, 90, 130, 500], {"first": 10, "last": 120}, engine)
    # Number 1 waits at the last stage from 30 on: for 100 when number 3 comes. At 500 nothing waits.
    assert log.requests.service_level is not None
    assert log.requests.service_level.tolist() == [0, 0, 0, 1, 0]


def test_a_level_that_leaves_no_branch_is_refused() -> None:
    pipeline = replace(BRANCHES, levels=((0, 1, 2, 0),))
    with pytest.raises(NoBranchLeftError, match="service level 1 skips every branch before join"):
        skipped_branches(pipeline)


CONFIG = {
    "workload": {
        "arrivals": {"kind": "mmpp", "rates": ["300/s", "1100/s"], "sojourn": ["2s", "500ms"]},
        "requests": 4000,
    },
    "levels": [{"rank": 1}, {"rank": 2, "graph": 1}],
    "degrade": {"kind": "hysteresis", "raise_above": "15ms", "lower_below": "8ms"},
    "stages": [
        {"name": "towers", "after": [], "service": "2ms"},
        {
            "name": "graph",
            "after": [],
            "service": {"kind": "affine", "base": "4ms", "per_request": "1ms"},
            "levels": [{"skip": True}],
        },
        {
            "name": "rank",
            "after": ["towers", "graph"],
            "merge": {"kind": "side_by_side", "quorum": 2},
            "service": {"kind": "affine", "base": "3ms", "per_request": "1ms"},
            "levels": [{"cost": 0.6}, {"cost": 0.3}],
        },
    ],
}


def test_a_configuration_comes_back_from_its_file_and_a_run_from_its_records(
    tmp_path: Path,
) -> None:
    config = parse_config(CONFIG)
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    again = load_config(tmp_path / "config.yaml")
    assert (again.levels, again.degrade) == (config.levels, config.degrade)
    assert again.stages == config.stages
    log = simulate(config)
    assert log.info["engine"] == "compiled"
    assert log.requests.service_level is not None
    assert set(log.requests.service_level.tolist()) == {0, 1, 2}
    records.write(tmp_path / "run", Run("run", log))
    found = records.read(tmp_path / "run").log
    np.testing.assert_array_equal(found.requests.service_level, log.requests.service_level)
    assert check(found) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("degrade=null", "levels: is given and degrade is not"),
        ("levels=[]", "degrade: is given and levels is not, so that there is nothing to go to"),
        ("levels=[{rnk: 1}]", "levels[0].rnk: there is no stage `rnk`; did you mean `rank`?"),
        ("levels=[{rank: 3}]", "levels[0].rank: is level 3, and the stage has 2"),
        ("levels=[{towers: 1}]", "levels[0].towers: is level 1, and the stage has none"),
        ("levels=[{rank: -1}]", "levels[0].rank: must be at least 0"),
        ("levels=[{rank: 1}]", "stages.graph.levels: is given and degrade is not"),
        (
            "stages.graph.degrade={kind: hysteresis, raise_above: 9ms, lower_below: 3ms}",
            "stages.graph.degrade: is given, and the service levels of requests name the stage as well",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(change: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(CONFIG, overrides=[change])
    assert message in str(caught.value)


def test_every_branch_cannot_be_skipped() -> None:
    changes = ["stages.towers.levels=[{skip: true}]", "levels=[{towers: 1, graph: 1, rank: 1}]"]
    with pytest.raises(
        ConfigError, match="skips every branch before rank, and a request needs one"
    ):
        parse_config(CONFIG, overrides=changes)


def test_workers_serve_each_request_at_its_level() -> None:
    levels = (Level(0.6), Level(0.5))
    rank = following("rank", levels=levels, max_batch=3)
    pipeline = Pipeline((rank,), levels=((1,), (2,)), degrade=EveryThird())
    rows = np.random.default_rng(2).random((60, WIDTH), np.float32)
    cheaper = {"rank": (Cheaper(take=1), Cheaper(Seen(factor=-1)))}
    with Executor(pipeline, {"rank": Seen()}, levels=cheaper) as executor:
        result = executor.run(Workload.of(np.arange(60) * 300_000), {"x": rows})
    assert check(result.log) == []
    chosen = result.log.requests.service_level
    assert chosen is not None
    assert chosen.tolist() == [0, 1, 2] * 20
    np.testing.assert_array_equal(result.log.requests.level, chosen)
    expected = [(row.sum(), row[0], -row.sum())[at] for at, row in zip(chosen, rows, strict=True)]
    np.testing.assert_allclose(result.answers["y"], expected, rtol=1e-5)
    again = replay_pipeline(pipeline, result.log)
    np.testing.assert_array_equal(again.requests.level, chosen)


@dataclass(frozen=True, slots=True)
class EveryThird(Degrade):
    """Levels 0, 1 and 2 in turn."""

    kind: ClassVar[str] = "test-every-third"

    def initial_state(self) -> list[int]:
        return [-1]

    @staticmethod
    def rule(view: View, now_ns: int, state: State, levels: int) -> int:
        state[0] = (state[0] + 1) % 3
        return state[0]
