"""The compiled driver against the reference: the same log, bit for bit, on whatever it accepts."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.kinds  # noqa: F401
from configs.load import load_config
from configs.published import BatchTimes
from policies.contract import Answer, Dispatch, Policy, RulePolicy, State, View
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.pipeline import Discipline, Pipeline, Stage
from policies.runlog import RunLog
from policies.scheduler import PolicyError
from policies.workload import ClosedWorkload
from sim.engines import EngineError
from sim.service.affine import Affine
from sim.service.base import ServiceModel
from sim.service.deterministic import Deterministic
from sim.service.empirical import Empirical
from sim.service.exponential import Exponential
from sim.service.gamma import Gamma
from sim.service.lognormal import Lognormal
from sim.service.measured import Batches, Measured, measure
from sim.service.padded import Padded
from sim.service.published import PublishedTimes
from sim.service.table import Table
from sim.service_times import ModelTimes, ReplayTimes
from sim.simulate import AnyWorkload, run, simulate
from sim.streams import stream
from tests.pipeline_strategies import (
    ARRIVALS,
    choosing_pipelines,
    pipelines,
    predicted_ns,
    skipping_pipelines,
    workload_of,
)

MANY = 10 * settings.get_profile(settings.get_current_profile_name()).max_examples
CONFIGS = Path(__file__).parents[1] / "configs"


PRINTED = {
    2: BatchTimes(mean_ns=9, p50_ns=8, p99_ns=22),
    5: BatchTimes(mean_ns=14, p99_ns=30),
    6: BatchTimes(mean_ns=20),
}
MODELS: list[ServiceModel] = [
    Deterministic(12),
    Exponential(20),
    Lognormal(15, 0.8),
    Gamma(15, 0.5),
    Affine(3, 2, 4, 0.3),
    Affine(0, 0, 7),
    Table({1: 9, 3: 12, 4: 30}, 0.4),
    Empirical((1, 5, 9, 30, 0), block=3),
    PublishedTimes(points=PRINTED),
    PublishedTimes(points=PRINTED, per="item"),
]


@dataclass(frozen=True)
class Paced(Empirical):
    """Measured batches of several sizes, with a pace."""

    samples_ns: tuple[int, ...] = (1,)

    @property
    def paced(self) -> bool:
        return True

    def pace(self, rested_ns: int) -> float:
        return self._measured.pace(rested_ns)

    @property
    def _measured(self) -> Measured:
        return MEASURED


def _measured() -> Measured:
    rng = np.random.default_rng(3)
    requests = rng.integers(1, 5, 900)
    rested = np.where(rng.random(900) < 0.02, -1, rng.integers(0, 60_000, 900))
    items = requests + rng.integers(0, 4, 900)
    noise = rng.gamma(4, 0.25, 900) * (1 + np.log1p(np.maximum(rested, 0) / 1000) / 10)
    service_ns = ((8 + 3 * requests + items) * noise).astype(np.int64) + 1
    return measure([Batches(requests, items, service_ns, rested)], 5)


MEASURED = _measured()
MODELS.append(Paced())
MODELS += [
    Padded(Affine(3, 2, 4, 0.3), (2, 4, 8)),
    Padded(Empirical((1, 5, 9, 30, 0), block=3), (3,)),
    Padded(PublishedTimes(points=PRINTED, per="item"), (1, 4)),
]


def same(one: RunLog, other: RunLog) -> None:
    """All of two logs, but for what their drivers say of themselves."""
    assert one.end_ns == other.end_ns
    assert one.devices == other.devices
    assert one.requests.reasons == other.requests.reasons
    for column in (
        "arrival_ns",
        "deadline_ns",
        "items",
        "ended_ns",
        "outcome",
        "level",
        "priority",
    ):
        np.testing.assert_array_equal(
            getattr(one.requests, column), getattr(other.requests, column), err_msg=column
        )
    assert (one.requests.service_level is None) == (other.requests.service_level is None)
    np.testing.assert_array_equal(one.requests.service_level, other.requests.service_level)
    for a, b in zip(one.stages, other.stages, strict=True):
        assert (a.skipped is None) == (b.skipped is None)
        if a.skipped is not None and b.skipped is not None:
            assert a.skipped.level == b.skipped.level
            np.testing.assert_array_equal(a.skipped.request, b.skipped.request)
            np.testing.assert_array_equal(a.skipped.at_ns, b.skipped.at_ns)
        told = attrgetter(
            "name", "replicas", "replica_devices", "max_batch", "branch", "parents", "partial"
        )
        assert told(a) == told(b)
        for column in a.batches.__dataclass_fields__:
            x, y = getattr(a.batches, column), getattr(b.batches, column)
            if x is None or y is None:
                assert x is y, column
                continue
            np.testing.assert_array_equal(x, y, err_msg=f"{a.name} {column}")
            assert x.dtype == y.dtype, column
        for column in ("request", "enqueued_ns", "row"):
            x, y = getattr(a.visits, column), getattr(b.visits, column)
            np.testing.assert_array_equal(x, y, err_msg=f"{a.name} {column}")
            assert x.dtype == y.dtype, column


def both(pipeline: Pipeline, models: list[ServiceModel], workload: AnyWorkload) -> None:
    logs = []
    for engine in ("simpy", "compiled"):
        times = [ModelTimes(model, stream(5, 0, str(k))) for k, model in enumerate(models)]
        logs.append(run(pipeline, times, workload, engine=engine))
    assert logs[1].info["engine"] == "compiled"
    same(*logs)


MODELS_OF_STAGES = st.lists(st.sampled_from(MODELS), min_size=4, max_size=4)


@settings(max_examples=MANY)
@given(pipelines(), MODELS_OF_STAGES, ARRIVALS, st.booleans())
def test_open_workloads(
    pipeline: Pipeline, models: list[ServiceModel], arrivals: list[tuple[int, int, int]], unit: bool
) -> None:
    workload = workload_of(arrivals)
    if unit:
        workload = replace(workload, items=np.ones_like(workload.items))
    both(pipeline, models[: len(pipeline.stages)], workload)


@settings(max_examples=MANY // 2)
@given(
    skipping_pipelines(),
    st.lists(st.sampled_from(MODELS), min_size=8, max_size=8),
    ARRIVALS,
)
def test_branches_that_are_skipped(
    pipeline: Pipeline, models: list[ServiceModel], arrivals: list[tuple[int, int, int]]
) -> None:
    both(pipeline, models[: len(pipeline.stages)], workload_of(arrivals))


@settings(max_examples=MANY // 2)
@given(
    choosing_pipelines(),
    st.lists(st.sampled_from(MODELS), min_size=8, max_size=8),
    ARRIVALS,
)
def test_levels_that_requests_have(
    pipeline: Pipeline, models: list[ServiceModel], arrivals: list[tuple[int, int, int]]
) -> None:
    both(pipeline, models[: len(pipeline.stages)], workload_of(arrivals))


@settings(max_examples=MANY // 2)
@given(
    pipelines() | choosing_pipelines(),
    st.lists(st.sampled_from(MODELS), min_size=8, max_size=8),
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 3)), min_size=1, max_size=40),
    st.one_of(st.none(), st.integers(1, 90)),
)
def test_closed_workloads(
    pipeline: Pipeline,
    models: list[ServiceModel],
    clients: int,
    thoughts: list[tuple[int, int]],
    deadline_after_ns: int | None,
) -> None:
    think_ns, items = (np.array(column, np.int64) for column in zip(*thoughts, strict=True))
    priority = (np.arange(len(items)) % 3 - 1).astype(np.int8)
    workload = ClosedWorkload(clients, think_ns, items, priority, deadline_after_ns)
    both(pipeline, models[: len(pipeline.stages)], workload)


@pytest.mark.parametrize(
    "name", ["mm1", "short", "pipeline4", "dag", "feed_diurnal", "ads_dlrm_a30"]
)
def test_shipped_configurations(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.yaml")
    requests = min(config.workload.requests or 20_000, 20_000)
    config = replace(config, workload=replace(config.workload, requests=requests))
    compiled = simulate(config)
    assert compiled.info["engine"] == "compiled", compiled.info["engine_reason"]
    same(simulate(config, engine="simpy"), compiled)


def test_tables_grow_when_batches_are_more_than_was_thought() -> None:
    config = load_config(CONFIGS / "mm1.yaml", ["workload.requests=5000"])
    same(simulate(config, engine="simpy"), simulate(config, engine="compiled"))


def test_many_replicas_fill_several_words() -> None:
    stage = Stage("s", Immediate(), predicted_ns, replicas=150, max_batch=2)
    rng = np.random.default_rng(0)
    gaps = [(int(gap), 10**9, 1) for gap in rng.integers(0, 2, 4000)]
    both(Pipeline((stage,)), [Lognormal(90, 1.5)], workload_of(gaps))


def test_long_queues_by_priority() -> None:
    stage = Stage("s", Immediate(), predicted_ns, max_batch=3, discipline=Discipline.PRIORITY)
    gaps = [(1, 10**9, 1)] * 3000
    both(Pipeline((stage,)), [Deterministic(9)], workload_of(gaps))


def test_a_replay_of_measured_times_compiles() -> None:
    stage = Stage("s", Fixed(5), predicted_ns, max_batch=3)
    logs = [
        run(
            Pipeline((stage,)),
            [ReplayTimes(np.array([4, 9, 0, 7]))],
            workload_of([(3, 100, 1)] * 50),
            engine=engine,
        )
        for engine in ("simpy", "compiled")
    ]
    same(*logs)


def test_a_compiled_log_survives_pickling() -> None:
    config = load_config(CONFIGS / "pipeline4.yaml", ["workload.requests=300"])
    log = simulate(config, engine="compiled")
    same(log, pickle.loads(pickle.dumps(log)))  # noqa: S301


@dataclass(frozen=True, slots=True)
class Greedy(RulePolicy):
    """Sends more than there is."""

    kind: ClassVar[str] = "test-greedy"

    @staticmethod
    def rule(view: View, now_ns: int, state: State) -> Answer:
        return view.waiting + 1, 0, 0


@dataclass(frozen=True, slots=True)
class Backward(RulePolicy):
    """Holds until before now."""

    kind: ClassVar[str] = "test-backward"

    @staticmethod
    def rule(view: View, now_ns: int, state: State) -> Answer:
        return 0, now_ns - 1, view.waiting + 1


@dataclass(frozen=True, slots=True)
class Dividing(RulePolicy):
    """Divides by zero."""

    kind: ClassVar[str] = "test-dividing"

    @staticmethod
    def rule(view: View, now_ns: int, state: State) -> Answer:
        return view.waiting // (view.waiting - view.waiting), 0, 0


@dataclass(frozen=True, slots=True)
class Strings(RulePolicy):
    """Does not compile."""

    kind: ClassVar[str] = "test-strings"

    @staticmethod
    def rule(view: View, now_ns: int, state: State) -> Answer:
        return len(f"{view.waiting:>{now_ns}}") and view.sendable, 0, 0


@dataclass(frozen=True, slots=True)
class NoRule(Policy):
    """Decides in Python alone."""

    kind: ClassVar[str] = "test-no-rule"

    def decide(self, view: View, now_ns: int, state: State) -> Dispatch:
        return Dispatch(view.sendable)


def alone(policy: Policy, engine: str = "auto") -> RunLog:
    stage = Stage("s", policy, predicted_ns, max_batch=3)
    times = [ModelTimes(Deterministic(9), stream(0, 0, "s"))]
    return run(Pipeline((stage,)), times, workload_of([(3, 100, 1)] * 9), engine=engine)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (Greedy(), "dispatched 2 requests, where 1 to 1 can be sent"),
        (Backward(), "which is not after now"),
    ],
)
def test_nonsense_is_told_alike(policy: Policy, told: str) -> None:
    messages = []
    for engine in ("simpy", "compiled"):
        with pytest.raises(PolicyError, match=told) as caught:
            alone(policy, engine)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert f"policy {type(policy).__name__}" in messages[0]


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_rule_that_raises_stops_the_run(engine: str) -> None:
    with pytest.raises(ZeroDivisionError):
        alone(Dividing(), engine)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (NoRule(), "stage s: policy test-no-rule has no rule"),
        (Strings(), "stage s: policy test-strings: its rule does not compile: "),
    ],
)
def test_what_does_not_compile_runs_on_the_reference_and_says_why(
    policy: Policy, reason: str
) -> None:
    log = alone(policy)
    assert log.info["engine"] == "simpy"
    assert str(log.info["engine_reason"]).startswith(reason)
    with pytest.raises(EngineError, match=reason):
        alone(policy, "compiled")


def test_a_process_beside_the_pipeline_needs_the_reference() -> None:
    config = load_config(CONFIGS / "short.yaml", ["workload.requests=20"])
    log = simulate(config, beside=lambda env, driver: None)
    assert log.info["engine_reason"] == "a process runs beside the pipeline"
