"""What a sweep varies: a knob and its values, such as ``stages.rank.policy.delay=0ms..10ms:11``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, Problem
from configs.knob_paths import Knob, knob_at, split_path
from configs.model import Config, StageConfig
from configs.tuning import KnobRange
from configs.yaml_text import parse_yaml

MOST_VALUES = 100_000
"""Most values on one axis."""
_DIGITS = 1000
"""A value between the ends is rounded to a decimal step of at least so many to the range: finer than
any figure can tell apart, and it reads ``3.48ms`` rather than ``3.482913ms``.
"""
_RANGE = re.compile(
    r"\s*(?P<low>[^\[\]{}:]+?)\s*\.\.\s*(?P<high>[^\[\]{}:]+?)\s*(?P<more>(?::.*)?)"
)
_CHANGE_NOTHING = {
    "replications": "is not for a sweep to vary; ask for --replications",
    "tune": "changes nothing in a run",
    "validate": "changes nothing in a run",
    "dispatcher": "changes nothing in a simulation",
    "name": "changes nothing in a run",
}


@dataclass(frozen=True, slots=True)
class Axis:
    """A knob and where a sweep sets it: one of ``values``, or from ``low`` to ``high``.

    All are values of the knob (int nanoseconds for a duration, float a second for a rate).
    """

    knob: Knob
    values: tuple[Any, ...] = ()
    """Empty where there is a range."""
    low: Any = None
    high: Any = None
    log: bool = False
    """Whether the range is gone through by factors rather than by differences."""

    @property
    def path(self) -> str:
        """Where the knob is."""
        return self.knob.path

    def spread(self, count: int) -> tuple[Any, ...]:
        """So many values from end to end, at the same distance or factor; all ``values`` where these
        are given. Fewer where whole numbers coincide.
        """
        if self.values:
            return self.values
        if not 2 <= count <= MOST_VALUES:
            raise ConfigError(
                [Problem("", self.path, f"takes 2 to {MOST_VALUES:,} values, not {count}")]
            )
        shares = np.linspace(0, 1, count)
        found = [self._value(share, round) for share in shares.tolist()]
        return tuple(dict.fromkeys([self.low, *found[1:-1], self.high]))

    def at(self, shares: NDArray[np.float64]) -> list[Any]:
        """The values at shares (n,) of the axis, each in [0, 1)."""
        if self.values:
            return [self.values[int(share * len(self.values))] for share in shares.tolist()]
        return [self._value(share, math.floor) for share in shares.tolist()]

    def _value(self, share: float, whole: Callable[[float], int]) -> Any:
        """The value at a share; a count is made whole by ``whole``."""
        counts = self.knob.number is int and self.knob.unit is None
        # By floor, the last of the counts has to get as much room as the others.
        high = self.high + 1 if counts and whole is math.floor else self.high
        by_factor = self.low * (high / self.low) ** share if self.log else 0
        value = by_factor if self.log else self.low + (high - self.low) * share
        if counts:
            found: int | float = whole(value)
        else:
            scale = value if self.log else high - self.low
            digits = -math.floor(math.log10(scale / _DIGITS))
            # Nanoseconds are whole: there are no digits behind the point.
            found = round(value, digits) if self.knob.number is float else _whole(value, digits)
        return min(max(found, self.low), self.high)


def _whole(value: float, digits: int) -> int:
    return round(round(value), min(digits, 0))


def parse_axis(config: Config, text: str) -> Axis:
    """The axis that ``PATH=VALUES`` means for a configuration.

    VALUES is a list, ``[0ms, 2ms, 5ms]``, or a range: ``0ms..10ms:11`` for 11 values at the same distance,
    ``1..64:7:log`` for 7 at the same factor, ``0ms..10ms`` for a random design or a count given later.
    Raises ConfigError, its source being ``--over TEXT``.
    """
    path, equals, values = text.partition("=")
    try:
        if not equals or not path.strip():
            raise _refused("", "must be PATH=VALUES, such as stages.rank.policy.delay=0ms..10ms:11")
        knob = knob_at(config, in_full(path.strip()))
        if (why := _CHANGE_NOTHING.get(split_path(knob.path)[0])) is not None:
            raise _refused(knob.path, why)
        return _axis(knob, values.strip())
    except ConfigError as error:
        source = f"--over {text}"
        raise ConfigError([Problem(source, p.where, p.text) for p in error.problems]) from error


def axis_of(found: KnobRange) -> Axis:
    """The axis of a knob that the configuration has under ``tune``."""
    if found.choices is not None:
        return Axis(found.knob, found.choices)
    if found.step is not None:
        count = int((found.high - found.low) / found.step + 1e-9) + 1
        if count > MOST_VALUES:
            raise _refused(found.path, f"has {count:,} steps; at most {MOST_VALUES:,} are taken")
        steps = [found.low + k * found.step for k in range(count)]
        exact = steps if found.knob.number is int else [round(step, 12) for step in steps]
        return Axis(found.knob, tuple(exact))
    return Axis(found.knob, low=found.low, high=found.high, log=found.log)


def in_full(path: str) -> str:
    """A path with the short form of a stage's key written out: ``stages.rank.delay``."""
    parts = split_path(path)
    if len(parts) == 3 and parts[0] == "stages":
        parts = [*parts[:2], *StageConfig.short_keys.get(parts[2], (parts[2],))]
    return ".".join(parts)


def _axis(knob: Knob, text: str) -> Axis:
    if text.startswith("["):
        return _listed(knob, text)
    found = _RANGE.fullmatch(text)
    if found is None:
        raise _refused(
            knob.path,
            "must be a list such as [0ms, 2ms, 5ms] or a range such as 0ms..10ms:11,"
            f" not {text or 'nothing'}",
        )
    count, log = _options(knob, found["more"])
    axis = _ranged(knob, found["low"], found["high"], log)
    return axis if count is None else Axis(knob, axis.spread(count))


def _listed(knob: Knob, text: str) -> Axis:
    raw = parse_yaml(text, "")
    if not raw:
        raise _refused(knob.path, "is an empty list; give a value at least")
    values = tuple(knob.read(each) for each in raw)
    twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
    if twice is not None:
        raise _refused(knob.path, f"has {knob.show(twice)} twice")
    return Axis(knob, values)


def _options(knob: Knob, text: str) -> tuple[int | None, bool]:
    """What stands behind a range: ``:11``, ``:log`` or both."""
    count, log = None, False
    for word in text.split(":")[1:]:
        if word.strip() == "log":
            log = True
        elif word.strip().isdecimal() and len(word) < 10:
            count = int(word)
        else:
            raise _refused(
                knob.path,
                f"takes a count, log or both behind a range, as in 1..64:7:log, not `{word.strip()}`",
            )
    return count, log


def _ranged(knob: Knob, low_text: str, high_text: str, log: bool) -> Axis:
    if knob.number is None:
        raise _refused(knob.path, "is no number; list its values, as in [A, B]")
    low, high = (knob.read(parse_yaml(text, "")) for text in (low_text, high_text))
    if low is None or high is None or not low < high:
        raise _refused(
            knob.path,
            f"a range goes from low to high, but {knob.show(low)} is not below {knob.show(high)}",
        )
    if log and not low > 0:
        raise _refused(knob.path, f"a range by factors starts above 0, not at {knob.show(low)}")
    return Axis(knob, low=low, high=high, log=log)


def _refused(where: str, text: str) -> ConfigError:
    return ConfigError([Problem("", where, text)])
