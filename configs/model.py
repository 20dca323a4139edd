"""The configuration as values: what a file says, checked, with units resolved.

Each class is a part of the file and each field a key, under its public name (``deadline_ns`` is written
``deadline``). :func:`configs.load.load_config` makes a :class:`Config` from YAML; what holds between the
parts is checked in ``configs.checks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from configs.levels import MOST_LEVELS, LevelConfig
from configs.nodes import KindOf
from configs.short import KIND, Full
from configs.spellings import Name, Names, Warmup, WarmupCut, check_cores
from policies.autoscale import Autoscale
from policies.coalesce import Coalesce
from policies.contract import Policy
from policies.hedge import Hedge
from policies.knobs import Bounds, knob
from policies.locality import Locality
from policies.pipeline import Discipline

MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000
MOST_REQUESTS = 1_000_000_000
MOST_REPLICAS = 10_000
LARGEST_BATCH = 65_536
DEFAULT_REQUESTS = 10_000
MOST_PRIORITIES = 127


def _by_name(doc: str) -> Any:
    return field(default_factory=dict, metadata={"knob": Bounds(doc)})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadConfig:
    """The requests: when they come, how big they are, by when they are due.

    Without ``arrivals`` they are Poisson at 100/s, 10,000 requests unless bounded otherwise.
    """

    arrivals: Annotated[Any, KindOf("arrivals")] = knob(
        "the arrival process; a bare rate is poisson"
    )
    requests: int | None = knob("stop after so many requests", default=None, ge=1, le=MOST_REQUESTS)
    duration_ns: int | None = knob("stop after so much time", default=None, gt=0)
    items: Annotated[Any, KindOf("items")] | None = knob(
        "items a request holds; a bare number is constant, absent is 1 or what a trace holds",
        default=None,
    )
    keys: Annotated[Any, KindOf("keys")] | None = knob(
        "user or item that a request is about, by which like requests are recognised; absent is none",
        default=None,
    )
    deadline_ns: int | None = knob("time from arrival until a request is due", default=None, gt=0)
    expire: bool = knob("drop a queued request at its deadline", default=False)
    supersede: bool = knob(
        "drop a queued request when the next one of its key arrives; one that runs is left to run, and"
        " dropped where it would wait again",
        default=False,
    )
    priorities: tuple[float, ...] = knob(
        "relative share of each priority level, from level 0, which is served first",
        default=(),
        ge=0,
    )

    @classmethod
    def in_full(cls, raw: object) -> Full:
        """The default arrivals come with a default bound; arrivals that are given do not."""
        if not isinstance(raw, Mapping) or {"arrivals", "requests", "duration"} & set(raw):
            return Full(raw)
        return Full({**raw, "requests": DEFAULT_REQUESTS})

    def __post_init__(self) -> None:
        """Some level must have a share, and levels are counted in eight bits."""
        if self.priorities and not any(self.priorities):
            raise ValueError("priorities are all 0; give at least one level a share")
        if len(self.priorities) > MOST_PRIORITIES:
            raise ValueError(
                f"priorities has {len(self.priorities)} levels; at most {MOST_PRIORITIES} are told apart"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig:
    """What the pipeline must reach: a latency at a percentile."""

    latency_ns: int = knob("latency to stay within", gt=0)
    percentile: float = knob("percentile of latency that it holds for", default=99.0, gt=0, le=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatesConfig:
    """How arrival rate and load are estimated for the policies that read them."""

    window_ns: int = knob("time that is counted over", default=100 * MILLISECOND_NS, gt=0)
    weight: float = knob(
        "weight of the newest window in the moving average", default=0.5, gt=0, le=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """Something that runs batches, and that stages may share."""

    slots: int = knob("batches that it runs at once", default=1, ge=1, le=MOST_REPLICAS)
    cores: tuple[int, ...] | None = knob("CPU cores that its workers run on", default=None, ge=0)
    cuda: int | None = knob("number of the GPU that its workers run on", default=None, ge=0)
    price_per_hour: float | None = knob(
        "what a slot of it costs, such as 0.6/h, in any currency", default=None, ge=0
    )
    each: bool = knob(
        "a type rather than one piece: every replica on it has one of its own, shared with nobody",
        default=False,
    )

    def __post_init__(self) -> None:
        """A device is cores or a GPU, not both; a type of device is no piece with slots or a number."""
        if self.each and self.slots != 1:
            raise ValueError(
                f"has each and slots {self.slots}; a replica that has a device of its own uses one"
                " slot, leave slots out"
            )
        if self.each and (self.cores is not None or self.cuda is not None):
            raise ValueError(
                "has each and cores or cuda, which name one piece of this machine; keep one of them"
            )
        if self.cores is not None and self.cuda is not None:
            raise ValueError("has both cores and cuda; give one of them")
        if self.cores is not None:
            check_cores(self.cores)


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherConfig:
    """Where the dispatcher and the load generator of a real run live."""

    cores: tuple[int, ...] | None = knob("CPU cores kept for them", default=None, ge=0)

    def __post_init__(self) -> None:
        """Cores are a set."""
        if self.cores is not None:
            check_cores(self.cores)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """One stage: a queue, its replicas, and how they are served. ``delay: 2ms`` is short for a fixed
    policy of that delay.
    """

    short_keys: ClassVar[Mapping[str, tuple[str, ...]]] = {"delay": ("policy", "delay")}
    """Keys of the short form, and what each stands for."""

    name: Name = knob("what the stage is called; letters, digits, _ and -")
    replicas: int = knob("workers that serve the queue", default=1, ge=1, le=MOST_REPLICAS)
    max_batch: int = knob("most requests in a batch", default=32, ge=1, le=LARGEST_BATCH)
    max_items: int | None = knob("most items in a batch", default=None, ge=1)
    pad_to: tuple[int, ...] = knob(
        "sizes that the model runs, to the next of which a batch is padded; none stands for every size",
        default=(),
        ge=1,
    )
    discipline: Discipline = knob("order in which the queue is served", default=Discipline.FIFO)
    admission: Annotated[Any, KindOf("admission")] | None = knob(
        "who may enter the queue; absent is all", default=None
    )
    queue_bound: int | None = knob("most waiting requests; more are shed", default=None, ge=1)
    device: Names = knob("device of all replicas, or a list of one for each", default=())
    after: Names | None = knob(
        "stages that must be done with a request before; where no stage says so, the list is a chain",
        default=None,
    )
    merge: Annotated[Any, KindOf("merge")] | None = knob(
        "when a request goes on that comes from several stages, and how their results become one; absent is"
        " when all are done, side by side",
        default=None,
    )
    keep: int | None = knob("candidates that are passed on", default=None, ge=1)
    memory_bytes: int | None = knob(
        "memory that a replica takes, such as 300MB, for plans to be compared by; absent is not known",
        default=None,
        gt=0,
    )
    service: Annotated[Any, KindOf("service")] = knob(
        "how long a batch takes; a bare duration is deterministic, absent is no time at all"
    )
    service_on: Mapping[Name, Annotated[Any, KindOf("service")]] = _by_name(
        "how long a batch takes on a device, where that differs from `service`"
    )
    policy: Annotated[Policy, KindOf("policy")] = knob("when a batch goes")
    autoscale: Autoscale | None = knob(
        "when replicas become more or fewer; `replicas` is then how many there are at the start",
        default=None,
    )
    hedge: Hedge | None = knob(
        "when a batch that takes too long is sent to a second replica as well", default=None
    )
    coalesce: Coalesce | None = knob(
        "requests of one key that are held together are computed once; true for its defaults",
        default=None,
    )
    locality: Locality | None = knob(
        "what replicas keep of what they served, and how long a request waits for one that has its key",
        default=None,
    )
    model: Annotated[Any, KindOf("model")] | None = knob("what a real run executes", default=None)
    levels: tuple[LevelConfig, ...] = knob(
        "cheaper ways to serve a batch, from level 1 on; level 0 is the stage as it is", default=()
    )
    degrade: Annotated[Any, KindOf("degrade")] | None = knob(
        "at which level a batch is served; absent is in full, always", default=None
    )

    @classmethod
    def in_full(cls, raw: object) -> Full:
        """``delay`` is a fixed policy of that delay; ``coalesce: false`` is none."""
        if isinstance(raw, Mapping) and raw.get("coalesce") is False:
            raw = {**raw, "coalesce": None}
        if not isinstance(raw, Mapping) or "delay" not in raw:
            return Full(raw)
        if "policy" in raw:
            raise ValueError(
                "has both delay and policy; delay is short for a fixed policy, keep one"
            )
        rest = {key: value for key, value in raw.items() if key != "delay"}
        policy = {KIND: "fixed", "delay": raw["delay"]}
        return Full({**rest, "policy": policy}, {("policy", "delay"): ("delay",)})

    @property
    def most_replicas(self) -> int:
        """Replicas that there may be."""
        return self.autoscale.max if self.autoscale else self.replicas

    def service_here(self) -> Any:
        """The service model on the device that the stage names."""
        return self.service_on.get(self.device[0], self.service) if self.device else self.service


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRange:
    """Values that tuning may give a knob: from low to high, or one of the choices."""

    low: Any = knob("lowest value, written as the knob is", default=None)
    high: Any = knob("highest value", default=None)
    log: bool = knob("search by factors rather than differences", default=False)
    step: Any = knob("only low plus multiples of this", default=None)
    choices: tuple[Any, ...] | None = knob("one of these instead", default=None)

    @classmethod
    def in_full(cls, raw: object) -> Full:
        """``[low, high]`` is a range."""
        if not isinstance(raw, list | tuple):
            return Full(raw)
        if len(raw) != 2:
            raise ValueError(
                f"must be [low, high], not a list of {len(raw)}; single values go under `choices:`"
            )
        return Full({"low": raw[0], "high": raw[1]}, {("low",): (0,), ("high",): (1,)})

    def __post_init__(self) -> None:
        """Either a range or choices."""
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("has choices and a range; keep one of them")
            if not self.choices:
                raise ValueError("choices is an empty list")
        elif self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        elif self.log and self.step is not None:
            raise ValueError("has both log and step; keep one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateConfig:
    """The scenarios in which a real run is compared with its simulation."""

    loads: tuple[float, ...] = knob(
        "arrival rates, as fractions of the capacity", default=(0.3, 0.5, 0.7, 0.9), gt=0, lt=1.5
    )
    holds_ns: tuple[int, ...] = knob(
        "fixed delays, for all stages alike", default=(0, 2 * MILLISECOND_NS), ge=0
    )
    duration_ns: int = knob("length of each run", default=10 * SECOND_NS, gt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityConfig:
    """What tells how good the lists are."""

    path: Path = knob("table written by `delayline evaluate`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration."""

    name: str = knob("what the run is called; the file's name by default", default="")
    seed: int = knob("seed of all random numbers", default=0, ge=0, le=2**63 - 1)
    workload: WorkloadConfig = knob("the requests")
    objective: ObjectiveConfig | None = knob("what to reach", default=None)
    warmup: WarmupCut = knob(
        "what is left out of the figures at the start: a duration, or a share of the arrivals' span",
        default=Warmup(),
    )
    replications: int = knob("independent repetitions", default=1, ge=1, le=100_000)
    estimates: EstimatesConfig = knob("estimation of rate and load", default=EstimatesConfig())
    devices: Mapping[Name, DeviceConfig] = _by_name("devices that stages name")
    levels: tuple[Mapping[Name, int], ...] = knob(
        "service levels of requests, from level 1 on: by stage, the level of that stage; a stage that is not"
        " named serves in full",
        default=(),
        ge=0,
        le=MOST_LEVELS,
    )
    degrade: Annotated[Any, KindOf("degrade")] | None = knob(
        "at which service level a request is served, chosen once as it arrives; absent is as each stage's"
        " own degrade says",
        default=None,
    )
    dispatcher: DispatcherConfig = knob("place of the dispatcher", default=DispatcherConfig())
    stages: tuple[StageConfig, ...] = knob("the stages, in order")
    tune: Mapping[str, TuneRange] = _by_name("knobs to tune, by path")
    validate: ValidateConfig = knob("scenarios to validate", default=ValidateConfig())
    quality: QualityConfig | None = knob(
        "by what the quality of lists is predicted, and measured in a real run; absent is by nothing",
        default=None,
    )
    provenance: Mapping[str, Any] = _by_name(
        "where the values come from, as the command that found them writes it; nothing reads it"
    )

    def follows_requests(self, stage: str) -> bool:
        """Whether a stage's levels are those of its requests, chosen as they arrive."""
        return self.degrade is not None and any(stage in level for level in self.levels)

    def parents(self) -> dict[str, tuple[str, ...]]:
        """The stages that each waits for: as ``after`` says, or the list as a chain."""
        names = [stage.name for stage in self.stages]
        if all(stage.after is None for stage in self.stages):
            return {name: tuple(names[i - 1 : i]) for i, name in enumerate(names)}
        return {stage.name: stage.after or () for stage in self.stages}

    def keeps(self) -> dict[str, int]:
        """By stage, how many candidates it passes on; of those that say so."""
        return {stage.name: stage.keep for stage in self.stages if stage.keep is not None}

    def stage(self, name: str) -> StageConfig:
        """The stage of that name. Raises KeyError."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)
