"""The knobs to tune, with their ranges in the knobs' own units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from configs.errors import ConfigError, Problem, nearest
from configs.fields import NO_BOUNDS
from configs.knob_paths import (
    Knob,
    NoKnobError,
    knob_at,
    knob_value,
    named_path,
    split_path,
    with_knob,
)
from configs.model import Config, TuneRange
from policies.knobs import public_name


@dataclass(frozen=True, slots=True)
class KnobRange:
    """Where tuning may set one knob.

    ``low``, ``high`` and ``step`` are in the knob's unit (int nanoseconds for a duration, float a
    second for a rate); they are None where there are ``choices``, which are values of the knob.
    """

    knob: Knob
    low: Any = None
    high: Any = None
    step: Any = None
    log: bool = False
    choices: tuple[Any, ...] | None = None

    @property
    def path(self) -> str:
        """Where the knob is."""
        return self.knob.path


def knob_ranges(config: Config) -> tuple[KnobRange, ...]:
    """The ranges of all knobs under ``tune``, in order.

    Raises ConfigError as loading does, and also for a knob that only another kind has than the one in
    its place.
    """
    try:
        return tuple(range_of(config, path, tune) for path, tune in config.tune.items())
    except ConfigError as error:
        found = [Problem(p.source, f"tune.{p.where}", p.text) for p in error.problems]
        raise ConfigError(found) from error


@dataclass(frozen=True, slots=True)
class Tunable:
    """A knob to tune, which may be there only under some choices of the knobs above it.

    ``stages.rank.policy.delay`` is below ``stages.rank.policy``; where both are tuned, the delay is there
    only if a kind is chosen that has one.
    """

    path: str
    above: tuple[str, ...]
    """Tuned knobs that it lies below, outermost first."""
    ranges: Mapping[tuple[int, ...], KnobRange]
    """Its range by which choice each of those has; under choices that are not here it is not there."""


def tunables(config: Config) -> tuple[Tunable, ...]:
    """All knobs under ``tune``, each behind those that it lies below.

    Raises ConfigError as loading does, and also for a knob that neither its place nor any choice for it
    has, and for one that is named twice.
    """
    named: dict[str, str] = {}
    for path in config.tune:
        twin = named.setdefault(named_path(config, path), path)
        if twin != path:
            raise ConfigError([Problem("", f"tune.{path}", f"is the same knob as {twin}")])
    found: dict[str, Tunable] = {}
    for name in sorted(named, key=lambda each: each.count(".")):
        above = [each for other, each in found.items() if name.startswith(f"{other}.")]
        path = named[name]
        try:
            found[name] = _tunable(config, path, config.tune[path], above)
        except ConfigError as error:
            problems = [Problem(p.source, f"tune.{p.where}", p.text) for p in error.problems]
            raise ConfigError(problems) from error
    order = {path: place for place, path in enumerate(config.tune)}

    def place(knob: Tunable) -> tuple[int, int, int]:
        first = knob.above[0] if knob.above else knob.path
        return order[first], len(knob.above), order[knob.path]

    return tuple(sorted(found.values(), key=place))


def below_another(config: Config, path: str) -> bool:
    """Whether a knob to tune lies below another one."""
    name = named_path(config, path)
    return any(name.startswith(f"{named_path(config, other)}.") for other in config.tune)


def _tunable(config: Config, path: str, tune: TuneRange, above: Sequence[Tunable]) -> Tunable:
    ranges: dict[tuple[int, ...], KnobRange] = {}
    absent: NoKnobError | None = None
    names: dict[str, None] = {}
    for key, placed in _placed(config, above):
        try:
            ranges[key] = range_of(placed, path, tune)
        except NoKnobError as error:
            absent = error
            kind = knob_value(placed, above[-1].path) if above else None
            names |= (
                dict.fromkeys(public_name(field.name) for field in fields(kind)) if kind else {}
            )
    if absent is not None and not ranges:
        if not above:
            raise absent
        hint = nearest(split_path(path)[-1], names)
        raise _refused(path, f"no choice for {above[-1].path} has such a knob; {hint}")
    return Tunable(path, tuple(each.path for each in above), ranges)


def _placed(config: Config, above: Sequence[Tunable]) -> Iterator[tuple[tuple[int, ...], Config]]:
    """The configuration with every combination of choices of the knobs above put in."""
    if not above:
        yield (), config
        return
    *outer, last = above
    for key, placed in _placed(config, outer):
        for index, choice in enumerate(
            last.ranges[key].choices or () if key in last.ranges else ()
        ):
            yield (*key, index), with_knob(placed, last.path, choice)


def range_of(config: Config, path: str, tune: TuneRange) -> KnobRange:
    """One range, read as its knob reads values. Raises ConfigError."""
    knob = knob_at(config, path)
    if tune.choices is not None:
        return KnobRange(knob, choices=tuple(knob.read(choice) for choice in tune.choices))
    if knob.number is None:
        raise _refuse(knob, "is no number; list its values under `choices:`")
    low, high = knob.read(tune.low), knob.read(tune.high)
    if not low < high:
        raise _refuse(
            knob, f"low must be less than high, but {knob.show(low)} is not below {knob.show(high)}"
        )
    if tune.log and not low > 0:
        raise _refuse(knob, f"log needs a low above 0, not {knob.show(low)}")
    step = None
    if tune.step is not None:
        step = knob.read(tune.step, NO_BOUNDS)
        if not 0 < step <= high - low:
            raise _refuse(
                knob,
                f"step must be above 0 and at most high - low ({knob.show(high - low)}),"
                f" not {knob.show(step)}",
            )
    return KnobRange(knob, low, high, step, tune.log)


def _refuse(knob: Knob, text: str) -> ConfigError:
    return _refused(knob.path, text)


def _refused(path: str, text: str) -> ConfigError:
    return ConfigError([Problem("", path, text)])
