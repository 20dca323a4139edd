"""Hypothesis strategies for configurations, derived from the dataclasses as the schema is."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st

from configs.checks import problems
from configs.kinds import kinds
from configs.levels import LevelConfig
from configs.model import (
    Config,
    DeviceConfig,
    DispatcherConfig,
    EstimatesConfig,
    ObjectiveConfig,
    StageConfig,
    ValidateConfig,
    WorkloadConfig,
)
from configs.plain import unit_of
from configs.published import BatchTimes
from configs.spellings import Warmup
from configs.units import HIGHEST_HZ, HIGHEST_PER_HOUR, LONGEST_NS
from policies.coalesce import Coalesce
from policies.knobs import Bounds, bounds_of
from policies.locality import Locality
from policies.pipeline import Discipline
from sim.service.deterministic import Deterministic
from sim.service.published import PublishedTimes

FOLDER = Path("/conf/of/tests")
"""The folder that configurations of these strategies belong to; it need not exist."""

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,10}", fullmatch=True)


def kind(family: str) -> st.SearchStrategy[Any]:
    """Any registered kind of a family, with any values of its knobs that it takes."""
    return st.sampled_from(sorted(kinds(family))).flatmap(lambda k: node(kinds(family)[k]))


def node(cls: type[Any]) -> st.SearchStrategy[Any]:
    """A dataclass of knobs; drawn again where the class itself refuses the combination."""
    if cls in _RARELY_TAKEN:
        return _RARELY_TAKEN[cls]()
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {
        f.name: typed(hints[f.name], unit_of(f.name), bounds_of(f)) for f in dataclasses.fields(cls)
    }
    refused = object()

    def build(values: dict[str, Any]) -> Any:
        try:
            return cls(**values)
        except ValueError:
            return refused

    return st.fixed_dictionaries(fields).map(build).filter(lambda made: made is not refused)


def typed(annotation: Any, unit: str | None, bounds: Bounds) -> st.SearchStrategy[Any]:
    """Values of an annotation within bounds."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return integers(bounds, LONGEST_NS if unit == "duration" else 2**31)
    if annotation is float:
        most = {"rate": HIGHEST_HZ, "price": HIGHEST_PER_HOUR}.get(unit or "", 1e6)
        return floats(bounds, most, signed=unit is None)
    if annotation is str:
        return st.text(min_size=1, max_size=8)
    if annotation is type(None):
        return st.none()
    if annotation is Path:
        below = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: FOLDER.joinpath(*names))
        return st.one_of(below, NAMES.map(lambda name: Path("/elsewhere") / name))
    if origin is Literal:
        return st.sampled_from(args)
    if origin is Annotated:
        return typed(args[0], unit, bounds)
    if origin in (Union, types.UnionType):
        return st.one_of([typed(arg, unit, bounds) for arg in args])
    if origin is tuple:
        return st.lists(typed(args[0], unit, bounds), max_size=4).map(tuple)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        keys = integers(Bounds("", ge=1), 1000)
        return st.dictionaries(keys, typed(args[1], unit, bounds), min_size=1, max_size=4)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return node(annotation)
    raise TypeError(f"no strategy for {annotation}")


def _batch_times() -> st.SearchStrategy[BatchTimes]:
    def rising(mean: int, above: list[float], with_median: bool) -> BatchTimes:
        rest = [int(mean * (1 + part)) for part in sorted(above)]
        p90, p95, p99 = (*rest, None, None, None)[:3]
        median = mean if with_median and rest else None
        return BatchTimes(mean_ns=mean, p50_ns=median, p90_ns=p90, p95_ns=p95, p99_ns=p99)

    above = st.lists(st.floats(0, 0.5), max_size=3)
    return st.builds(rising, st.integers(1, 10**12), above, st.booleans())


def _published() -> st.SearchStrategy[PublishedTimes]:
    points = st.dictionaries(
        integers(Bounds("", ge=1), 1000), _batch_times(), min_size=1, max_size=3
    )
    inline = st.builds(
        PublishedTimes, points=points, per=st.sampled_from([None, "request", "item"])
    )
    group = st.none() | typed(str, None, Bounds(""))
    return inline | st.builds(PublishedTimes, path=typed(Path, None, Bounds("")), group=group)


_RARELY_TAKEN: dict[type[Any], Callable[[], st.SearchStrategy[Any]]] = {
    BatchTimes: _batch_times,
    PublishedTimes: _published,
}
"""Classes that refuse most combinations of their knobs: whose own strategies make what they take."""


def integers(bounds: Bounds, most: int) -> st.SearchStrategy[int]:
    """Integers within bounds, none beyond ``most``."""
    low = -most
    if bounds.ge is not None:
        low = math.ceil(bounds.ge)
    if bounds.gt is not None:
        low = max(low, math.floor(bounds.gt) + 1)
    high = most
    if bounds.le is not None:
        high = min(high, math.floor(bounds.le))
    if bounds.lt is not None:
        high = min(high, math.ceil(bounds.lt) - 1)
    return st.integers(low, high)


def floats(bounds: Bounds, most: float, *, signed: bool) -> st.SearchStrategy[float]:
    """Finite floats within bounds, none beyond ``most``."""
    low = bounds.ge if bounds.ge is not None else bounds.gt
    high = bounds.le if bounds.le is not None else bounds.lt
    return st.floats(
        min_value=low if low is not None else (-most if signed else 0.0),
        max_value=most if high is None else min(high, most),
        exclude_min=bounds.ge is None and bounds.gt is not None,
        exclude_max=high is not None and high <= most and bounds.le is None,
        allow_subnormal=False,
    )


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Whole configurations that load."""
    devices = draw(st.dictionaries(NAMES, node(DeviceConfig), max_size=2))
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    dag = draw(st.booleans())
    stages = tuple(
        draw(_stage(name, names[:i], dag, list(devices))) for i, name in enumerate(names)
    )
    config = Config(
        name=draw(st.text(min_size=1, max_size=12)),
        seed=draw(st.integers(0, 2**63 - 1)),
        workload=draw(_workload()),
        objective=draw(st.none() | node(ObjectiveConfig)),
        warmup=draw(
            st.integers(0, 10**12).map(lambda ns: Warmup(duration_ns=ns))
            | st.integers(1, 9999).map(lambda part: Warmup(percent=part / 100))
        ),
        replications=draw(st.integers(1, 100)),
        estimates=draw(node(EstimatesConfig)),
        devices=devices,
        dispatcher=draw(node(DispatcherConfig)),
        stages=stages,
        validate=draw(node(ValidateConfig)),
    )
    return _mended(config)


def _workload() -> st.SearchStrategy[WorkloadConfig]:
    return st.builds(
        WorkloadConfig,
        arrivals=kind("arrivals"),
        requests=st.integers(1, 10**6),
        duration_ns=st.none() | st.integers(1, 10**12),
        items=st.none() | kind("items"),
        keys=st.none() | kind("keys"),
        deadline_ns=st.integers(1, 10**10),
        expire=st.booleans(),
        priorities=st.just((0.25, 0.75)),
    )


@st.composite
def _stage(
    draw: st.DrawFn, name: str, before: list[str], dag: bool, devices: list[str]
) -> StageConfig:
    subset = st.lists(st.sampled_from(before), unique=True) if before else st.just([])
    replicas = draw(st.integers(1, 3))
    counts = draw(st.sampled_from([0, 1, replicas])) if devices else 0
    device = draw(st.lists(st.sampled_from(devices or [""]), min_size=counts, max_size=counts))
    return StageConfig(
        name=name,
        replicas=replicas,
        max_batch=draw(st.integers(1, 64)),
        max_items=draw(st.none() | st.integers(1, 100)),
        discipline=draw(st.sampled_from(Discipline)),
        queue_bound=draw(st.none() | st.integers(1, 1000)),
        device=tuple(device),
        service_on=draw(st.dictionaries(st.sampled_from(device), kind("service"), max_size=2))
        if device
        else {},
        after=tuple(draw(subset)) if dag else None,
        keep=draw(st.none() | st.integers(1, 100)),
        service=draw(kind("service")),
        merge=None,
        admission=draw(st.none() | kind("admission")),
        policy=draw(kind("policy")),
        coalesce=draw(st.none() | node(Coalesce)),
        locality=draw(st.none() | node(Locality)),
        levels=draw(_levels()),
        degrade=draw(st.none() | kind("degrade")),
    )


def _levels() -> st.SearchStrategy[tuple[LevelConfig, ...]]:
    """From the dearest to the cheapest, of enough candidates for every stage here."""
    level = st.builds(
        LevelConfig,
        cost=st.floats(0.001, 1),
        take=st.none() | st.just(100),
    )
    levels = st.lists(level, max_size=3)
    return levels.map(lambda each: tuple(sorted(each, key=lambda one: -(one.cost or 0))))


def _mended(config: Config) -> Config:
    """``config`` without what does not hold: such stages get the defaults of the part in question."""
    broken = [where for where, _ in problems(config)]
    default = kinds("policy")["immediate"]()
    stages = []
    for stage in config.stages:
        if any(f"{where}.".startswith(f"stages.{stage.name}.policy.") for where in broken):
            stage = dataclasses.replace(stage, policy=default)
        if f"stages.{stage.name}.max_items" in broken:
            stage = dataclasses.replace(stage, max_items=None)
        if f"stages.{stage.name}.device" in broken:
            stage = dataclasses.replace(stage, device=(), service_on={})
        if f"stages.{stage.name}.coalesce" in broken or f"stages.{stage.name}.locality" in broken:
            stage = dataclasses.replace(stage, coalesce=None, locality=None)
        if any(
            where.startswith((f"stages.{stage.name}.levels", f"stages.{stage.name}.degrade"))
            for where in broken
        ):
            stage = dataclasses.replace(stage, levels=(), degrade=None)
        if f"stages.{stage.name}.keep" in broken:
            stage = dataclasses.replace(stage, keep=None)
        if any(where.startswith(f"stages.{stage.name}.service") for where in broken):
            stage = dataclasses.replace(stage, service=Deterministic(1000), service_on={})
        stages.append(stage)
    mended = dataclasses.replace(config, stages=tuple(stages))
    return mended if mended == config else _mended(mended)  # what is mended may break another
