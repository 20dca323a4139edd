"""A pipeline as a value: stages, devices, and the graph between them, as the scheduler takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from policies.admission import Admission
from policies.autoscale import Autoscale
from policies.coalesce import Coalesce
from policies.contract import Policy, Reads
from policies.degrade import Degrade, Level
from policies.giving_up import branch_end, given_up
from policies.hedge import Hedge
from policies.locality import Locality
from policies.merge import Merge


class Discipline(Enum):
    """In which order a queue is served."""

    FIFO = "fifo"
    EDF = "edf"
    """Earliest deadline first; ties by entry."""
    PRIORITY = "priority"
    """Lowest priority number first; ties by entry."""


@dataclass(frozen=True, slots=True)
class Device:
    """Something that runs at most ``slots`` batches at once, whichever stages they are of."""

    name: str
    slots: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a pipeline.

    ``predict_ns(requests)`` is the predicted service time of a batch, used for the view only.
    ``parents`` are names of stages; a stage with several waits for all of them. ``device`` names, for
    each replica, an entry of the pipeline's devices; empty means a device of its own per replica.
    """

    name: str
    policy: Policy
    predict_ns: Callable[[int], int]
    replicas: int = 1
    max_batch: int = 1
    max_items: int | None = None
    discipline: Discipline = Discipline.FIFO
    queue_bound: int | None = None
    device: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    branch: str = ""
    merge: Merge | None = None
    """When a request goes on that comes from several parents, and how their results become one; None for
    when all are done, side by side.
    """
    admission: Admission | None = None
    """Who may enter the queue; None for all."""
    hedge: Hedge | None = None
    """When a batch is sent to a second replica as well; None for never."""
    coalesce: Coalesce | None = None
    """Whether requests of one key are computed once; None where each is computed."""
    locality: Locality | None = None
    """What replicas hold, so that it matters which of them serves a request; None where it does not."""
    autoscale: Autoscale | None = None
    """When its replicas become more or fewer, up to ``replicas``; None for never."""
    start: int | None = None
    """How many of them there are at the start; None for all."""
    levels: tuple[Level, ...] = ()
    """Cheaper ways to serve a batch, from level 1 on; ``predict_ns`` is of level 0."""
    degrade: Degrade | None = None
    """At which level a batch is served; None for full service always."""
    by_request: bool = False
    """The level is each request's own instead: see :attr:`Pipeline.degrade`."""
    pad_to: tuple[int, ...] = ()
    """Sizes that a batch is padded to, ascending; none where it is not. Its cost is the service model's."""

    @property
    def there(self) -> int:
        """Replicas that there are at the start."""
        return self.replicas if self.start is None else self.start

    @property
    def keyed(self) -> bool:
        """Whether its requests must have keys."""
        return self.coalesce is not None or self.locality is not None

    @property
    def partial(self) -> bool:
        """Whether a request may go on from here without one of the stages before."""
        return self.merge is not None and not self.merge.waits_for_all

    @property
    def reads(self) -> frozenset[Reads]:
        """The costly parts of the view that its policy, its admission or its degradation reads."""
        asked = (each.reads for each in (self.admission, self.degrade) if each is not None)
        return self.policy.reads.union(*asked)

    @property
    def degrades(self) -> bool:
        """Whether a batch may be served at a level other than 0."""
        return bool(self.levels) and (self.by_request or self.degrade is not None)

    @property
    def skips_at(self) -> int:
        """The level at which requests go on without this stage; 0 where there is none."""
        return len(self.levels) if self.degrades and self.levels[-1].skip else 0

    @property
    def refuses(self) -> bool:
        """Whether a request may be turned away or shed here."""
        bounded = self.queue_bound is not None or bool(self.policy.limits)
        return bounded or self.admission is not None or self.policy.sheds


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages in topological order (see :func:`topological`), devices, and run-wide settings."""

    stages: tuple[Stage, ...]
    devices: tuple[Device, ...] = ()
    expire: bool = False
    """Drop a queued request at its deadline."""
    supersede: bool = False
    """Drop a queued request when the next one of its key arrives."""
    estimate_window_ns: int = 100_000_000
    """Window over which arrival rate and load are counted."""
    estimate_weight: float = 0.5
    """Weight of the newest window in their moving average."""
    levels: tuple[tuple[int, ...], ...] = ()
    """By service level, from 1 on, the level of each stage; those that are by request follow it."""
    degrade: Degrade | None = None
    """At which service level a request is served on its whole way, chosen once as it arrives, by the view of
    the stage that is most behind.
    """

    @property
    def chooses(self) -> bool:
        """Whether requests have service levels."""
        return self.degrade is not None and bool(self.levels)

    def reads(self, stage: Stage) -> frozenset[Reads]:
        """The costly parts of a stage's view that are read."""
        return stage.reads if self.degrade is None else stage.reads | self.degrade.reads

    @property
    def needs_keys(self) -> str:
        """Who needs requests to have keys; empty where nothing does."""
        keyed = next((stage.name for stage in self.stages if stage.keyed), None)
        if keyed is not None:
            return f"stage {keyed} coalesces or has locality"
        return "requests supersede one another" if self.supersede else ""


def predictions(stage: Stage) -> tuple[int, ...]:
    """Predicted service times of a stage in nanoseconds, by batch size from 0 to ``max_batch``."""
    return tuple(stage.predict_ns(size) for size in range(stage.max_batch + 1))


def downstream_ns(pipeline: Pipeline, service_ns: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """For each stage the view's ``downstream_ns``, from the :func:`predictions` of all stages."""
    longest: dict[str, list[int]] = {}
    """From a stage on, itself included, by batch size up to the largest of all stages."""
    found: list[tuple[int, ...]] = []
    sizes = range(max(stage.max_batch for stage in pipeline.stages) + 1)
    for stage, own_ns in zip(reversed(pipeline.stages), reversed(service_ns), strict=True):
        after = [longest[child.name] for child in pipeline.stages if stage.name in child.parents]
        rest = [max((times[size] for times in after), default=0) for size in sizes]
        found.append(tuple(rest[: stage.max_batch + 1]))
        longest[stage.name] = [own_ns[min(size, stage.max_batch)] + rest[size] for size in sizes]
    return found[::-1]


def joins_that_give_up(pipeline: Pipeline) -> list[tuple[int, list[int]]]:
    """(join, stages) for each join that may go on without a branch: see :func:`given_up`."""
    return given_up(
        [stage.name for stage in pipeline.stages],
        [stage.parents for stage in pipeline.stages],
        [stage.partial for stage in pipeline.stages],
    )


def end_of_branch(pipeline: Pipeline, stage: int) -> tuple[int, int]:
    """(join, number of the branch there) of a stage that may be skipped. Raises ValueError where the
    pipeline cannot do without it: see :func:`branch_end`.
    """
    return branch_end(
        [stage.name for stage in pipeline.stages],
        [stage.parents for stage in pipeline.stages],
        [stage.partial for stage in pipeline.stages],
        stage,
    )


class CycleError(ValueError):
    """The graph of stages has a cycle; ``cycle`` holds its names in order, the first repeated last."""

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle = tuple(cycle)
        super().__init__("the stages wait for one another in a circle: " + " -> ".join(cycle))


def topological(parents: dict[str, tuple[str, ...]]) -> list[str]:
    """Stage names so that each comes after its parents, otherwise in the order given.

    Raises CycleError with the cycle. Every parent must be a key.
    """
    order: list[str] = []
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name in path:
            raise CycleError([*path[path.index(name) :], name])
        path.append(name)
        for parent in parents[name]:
            visit(parent)
        path.pop()
        done.add(name)
        order.append(name)

    for name in parents:
        visit(name)
    return order
