"""Generated pipelines and workloads. Times are a few dozen nanoseconds, so that ties are common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from hypothesis import strategies as st

from policies.contract import NEVER_NS, Answer, Policy, RulePolicy, State, View
from policies.degrade import Degrade, Level
from policies.fixed import Fixed
from policies.hysteresis import Hysteresis
from policies.immediate import Immediate
from policies.load_adaptive import LoadAdaptive
from policies.merge import Merge
from policies.merge_side_by_side import SideBySide
from policies.pipeline import Device, Discipline, Pipeline, Stage, end_of_branch
from policies.predicted_lateness import PredictedLateness
from policies.queue_limits import QueueLimit
from policies.service_level import NoBranchLeftError, skipped_branches
from policies.token_bucket import TokenBucket
from policies.workload import Workload


@dataclass(frozen=True, slots=True)
class OnlyFull(RulePolicy):
    """Sends full batches and nothing else: the rest of a run is held for ever."""

    kind: ClassVar[str] = "test-only-full"

    @staticmethod
    def rule(view: View, now_ns: int, state: State) -> Answer:
        if view.waiting >= view.max_batch or view.sendable < view.waiting:
            return view.sendable, 0, 0
        return 0, NEVER_NS, view.max_batch


@dataclass(frozen=True, slots=True)
class ByDeadline(RulePolicy):
    """Reads every part of the view: holds until the earliest deadline less the predicted service."""

    kind: ClassVar[str] = "test-by-deadline"

    @staticmethod
    def rule(view: View, now_ns: int, state: State) -> Answer:
        slack_ns = view.service_ns[view.sendable]
        until_ns = min(view.earliest_deadline_ns, view.oldest_enqueued_ns + 40) - slack_ns
        crowded = view.load > 0.9 or view.next_idle_ns <= now_ns + 5
        if now_ns >= until_ns or crowded or view.sendable == view.max_batch:
            return view.sendable, 0, 0
        return 0, until_ns, max(view.max_batch, view.waiting + 1)


@dataclass(frozen=True, slots=True)
class Learning(RulePolicy):
    """Remembers what it did and saw, ticks, and sends sometimes less than it might."""

    kind: ClassVar[str] = "test-learning"

    every_ns: int = 17
    weights: tuple[int, ...] = (3, 1, 2)
    eager: bool = False
    share: float = 0.5

    def initial_state(self) -> list[int]:
        return [0, 0, 0]

    @property
    def tick_ns(self) -> int:
        return self.every_ns

    @staticmethod
    def tick_rule(view: View, now_ns: int, state: State, share: float) -> None:
        state[0] += view.waiting + view.idle_replicas + int(view.load * 10 > share)

    @staticmethod
    def observe_rule(
        view: View, now_ns: int, state: State, requests: int, service_ns: int, eager: bool
    ) -> None:
        state[1] += service_ns - requests * view.replicas + view.waiting_items
        if eager:
            state[1] -= view.last_dispatch_ns

    @staticmethod
    def rule(
        view: View, now_ns: int, state: State, weights: tuple[int, ...], eager: bool
    ) -> Answer:
        weight = weights[state[2] % len(weights)]
        until_ns = view.idle_since_ns + weight + (state[0] + state[1]) % 13
        if eager or now_ns >= until_ns or view.sendable < view.waiting:
            state[2] += 1
            return max(1, view.sendable - weight), 0, 0
        return 0, until_ns, view.waiting + weight


@dataclass(frozen=True, slots=True)
class Choosy(RulePolicy):
    """Sheds what is late by its reckoning, some of it together; reads what only the head shows."""

    kind: ClassVar[str] = "test-choosy"

    patience_ns: int = 50

    @property
    def sheds(self) -> bool:
        return True

    @staticmethod
    def rule(view: View, now_ns: int, state: State, patience_ns: int) -> Answer:
        size = view.sendable
        ends_ns = now_ns + view.service_ns[size] + view.downstream_ns[size]
        if ends_ns > min(view.head_deadline_ns, view.head_arrival_ns + 2 * patience_ns):
            return -1, 0, 0
        if now_ns > view.head_enqueued_ns + patience_ns:
            return -min(view.waiting, 1 + view.waiting // 3), 0, 0
        if now_ns > view.newest_enqueued_ns or view.sendable < view.waiting:
            return size, 0, 0
        return 0, now_ns + 2, view.waiting + 2


@dataclass(frozen=True, slots=True)
class Layered(RulePolicy):
    """Has limits of all kinds for the levels, and a say in whose turn it is; reads what levels show."""

    kind: ClassVar[str] = "test-layered"

    patience_ns: int = 20

    @property
    def limits(self) -> tuple[QueueLimit, ...]:
        return (
            QueueLimit(self.patience_ns, puts_off=True),
            QueueLimit(2 * self.patience_ns, bound=2),
            QueueLimit(bound=3),
        )

    @staticmethod
    def urgency_rule(view: View, now_ns: int, state: State, patience_ns: int) -> int:
        return view.oldest_enqueued_ns % 7 + patience_ns * view.urgent

    @staticmethod
    def rule(view: View, now_ns: int, state: State, patience_ns: int) -> Answer:
        until_ns = view.batch_oldest_ns + patience_ns
        if now_ns >= until_ns or view.sendable < view.waiting or view.urgent > 2:
            return view.sendable, 0, 0
        return 0, until_ns, view.waiting + 3


POLICIES = st.one_of(
    st.just(Immediate()),
    st.just(OnlyFull()),
    st.just(ByDeadline()),
    st.builds(Choosy, patience_ns=st.integers(10, 200)),
    st.builds(Layered, patience_ns=st.integers(1, 60)),
    st.builds(Fixed, delay_ns=st.integers(0, 60)),
    st.builds(Learning, eager=st.booleans(), share=st.floats(0, 9)),
    st.just(LoadAdaptive(initial_ns=10, step_ns=5, interval_ns=20, max_ns=50)),
)


ADMISSIONS = (
    *(None,) * 4,
    TokenBucket(rate_hz=1e8, burst=2),
    PredictedLateness(),
    PredictedLateness(margin_ns=30),
)


@dataclass(frozen=True, slots=True)
class Whimsical(Degrade):
    """Goes up and down by all that it sees, beyond both ends."""

    kind: ClassVar[str] = "test-whimsical"

    share: float = 0.5
    weights: tuple[int, ...] = (3, -1, 2)

    def initial_state(self) -> list[int]:
        return [1]

    @staticmethod
    def rule(
        view: View,
        now_ns: int,
        state: State,
        levels: int,
        weights: tuple[int, ...],
        share: float,
    ) -> int:
        state[0] += view.waiting + now_ns % 3 + int(view.head_enqueued_ns > now_ns - 9)
        if view.load > share:
            return levels + 1
        return weights[state[0] % len(weights)]


DEGRADES = (
    *(None,) * 3,
    Whimsical(),
    Hysteresis(raise_above_ns=8, lower_below_ns=3, hold_ns=20),
)
LEVELS = st.lists(st.sampled_from([Level(0.7), Level(0.35), Level(0.05), Level(1.0)]), max_size=3)


def predicted_ns(requests: int) -> int:
    return 10 + requests


@st.composite
def merges(draw: st.DrawFn, parents: int) -> Merge | None:
    """What a stage of so many parents may merge by."""
    if parents < 2 or draw(st.booleans()):
        return None
    return SideBySide(
        quorum=draw(st.none() | st.integers(1, parents)),
        deadline_ns=draw(st.none() | st.integers(1, 150)),
    )


@st.composite
def pipelines(draw: st.DrawFn, policies: st.SearchStrategy[Policy] = POLICIES) -> Pipeline:
    devices = [Device(f"d{k}", draw(st.integers(1, 2))) for k in range(draw(st.integers(1, 2)))]
    stages: list[Stage] = []
    for k in range(draw(st.integers(1, 4))):
        replicas = draw(st.integers(1, 3))
        names = st.sampled_from([device.name for device in devices])
        shares = draw(st.booleans())
        before = [stage.name for stage in stages]
        parents = tuple(name for name in before if draw(st.booleans()))
        stages.append(
            Stage(
                name=f"s{k}",
                policy=draw(policies),
                predict_ns=predicted_ns,
                replicas=replicas,
                max_batch=draw(st.integers(1, 4)),
                max_items=draw(st.sampled_from([None, None, 4])),
                discipline=draw(st.sampled_from(Discipline)),
                queue_bound=draw(st.sampled_from([None, None, 1, 3])),
                admission=draw(st.sampled_from(ADMISSIONS)),
                device=tuple(draw(names) for _ in range(replicas)) if shares else (),
                parents=parents,
                merge=draw(merges(len(parents))),
                levels=tuple(draw(LEVELS)),
                degrade=draw(st.sampled_from(DEGRADES)),
            )
        )
    pipeline = Pipeline(
        tuple(stages), tuple(devices), expire=draw(st.booleans()), estimate_window_ns=50
    )
    return replace(
        pipeline,
        stages=tuple(
            replace(stage, levels=(*stage.levels, SKIP))
            if may_be_skipped(pipeline, k) and draw(st.booleans())
            else stage
            for k, stage in enumerate(stages)
        ),
    )


SKIP = Level(0.0, skip=True)


def may_be_skipped(pipeline: Pipeline, stage: int) -> bool:
    """Whether a level of the stage may be to go on without it."""
    try:
        end_of_branch(pipeline, stage)
    except ValueError:
        return False
    return True


def served_where_needed(pipeline: Pipeline) -> Pipeline:
    """The pipeline without levels at which stages are skipped that no join can do without."""

    def of(k: int, stage: Stage) -> Stage:
        levels = tuple(level for level in stage.levels if not level.skip)
        return stage if may_be_skipped(pipeline, k) else replace(stage, levels=levels)

    return replace(pipeline, stages=tuple(of(k, each) for k, each in enumerate(pipeline.stages)))


@st.composite
def skipping_pipelines(draw: st.DrawFn) -> Pipeline:
    """A fork whose branches, some of two stages, are often skipped, or branches from the start."""
    forked = draw(st.booleans())
    merge = SideBySide(
        quorum=(branches := draw(st.integers(2, 3))) - draw(st.integers(0, 1)),
        deadline_ns=draw(st.none() | st.integers(1, 150)),
    )
    queue_bound = draw(st.sampled_from([None, None, 2]))
    slots = draw(st.sampled_from([(), ("d",)]))
    stages: list[Stage] = []
    ends: list[str] = []

    def stage(name: str, *parents: str, **more: object) -> Stage:
        return Stage(
            name=name,
            policy=draw(st.sampled_from([Immediate(), Fixed(20), OnlyFull(), ByDeadline()])),
            predict_ns=predicted_ns,
            max_batch=draw(st.integers(1, 4)),
            parents=parents,
            discipline=draw(st.sampled_from(Discipline)),
            device=slots,
            **more,  # type: ignore[arg-type]
        )

    root = ("fork",) if forked else ()
    stages += [stage(name) for name in root]
    for branch in range(branches):
        parents = root
        for name in (f"b{branch}", f"c{branch}")[: draw(st.integers(1, 2))]:
            levels = (*draw(LEVELS), SKIP)[-draw(st.integers(1, 2)) :]
            degrade = draw(st.sampled_from(DEGRADES))
            stages.append(stage(name, *parents, levels=levels, degrade=degrade))
            parents = (name,)
        ends += parents
    stages.append(stage("join", *ends, merge=merge, queue_bound=queue_bound))
    return Pipeline(tuple(stages), (Device("d", 1),), expire=draw(st.booleans()))


@st.composite
def choosing_pipelines(draw: st.DrawFn) -> Pipeline:
    """Requests have service levels, some of which skip branches."""
    drawn = draw(pipelines() | skipping_pipelines())
    stages = tuple(
        replace(stage, degrade=None, by_request=bool(stage.levels)) for stage in drawn.stages
    )
    level = st.tuples(*(st.integers(0, len(stage.levels)) for stage in stages))
    whole = replace(
        drawn,
        stages=stages,
        levels=tuple(draw(st.lists(level, min_size=1, max_size=3))),
        degrade=draw(st.sampled_from([Whimsical(), DEGRADES[-1]])),
    )
    while True:
        try:
            skipped_branches(whole)
        except NoBranchLeftError as error:
            full = (0,) * len(stages)
            levels = [*whole.levels]
            levels[error.level - 1] = full
            whole = replace(whole, levels=tuple(levels))
        else:
            return whole


ARRIVALS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 200), st.integers(1, 3)), min_size=1, max_size=40
)
"""(gap_ns, deadline after arrival, items) of each request"""


def workload_of(arrivals: list[tuple[int, int, int]]) -> Workload:
    gaps, after, items = (np.array(column, np.int64) for column in zip(*arrivals, strict=True))
    arrival_ns = np.cumsum(gaps)
    priority = (np.arange(len(gaps)) % 3).astype(np.int8)
    return Workload(arrival_ns, arrival_ns + after, items, priority)
