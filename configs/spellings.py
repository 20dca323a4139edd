"""Values of a configuration that have a spelling of their own: names, lists of names, the warm-up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from configs import units
from configs.errors import shown
from configs.fields import Spelled

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
_NAME = re.compile(NAME_PATTERN.removesuffix("$"))
_PERCENT = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,20})?)\s*%\s*")
_PERCENT_PATTERN = r"^\s*[0-9]{1,3}(?:\.[0-9]{1,20})?\s*%\s*$"


@dataclass(frozen=True, slots=True)
class Warmup:
    """What is cut off at the start of a run: a time, or a percentage of the arrivals' span."""

    duration_ns: int = 0
    percent: float = 0.0

    def cut_ns(self, span_ns: int) -> int:
        """Requests that arrive before this, in a run whose arrivals span ``span_ns``, do not count."""
        return self.duration_ns + int(span_ns * Fraction(self.percent) / 100)

    def spell(self) -> str:
        """As :func:`parse_warmup` reads it."""
        if not self.percent:
            return units.format_duration(self.duration_ns)
        return f"{self.percent!r}".removesuffix(".0") + "%"


def parse_warmup(value: object) -> Warmup:
    """A warm-up from ``10%``, ``2s`` or 0. Raises ValueError."""
    if isinstance(value, Warmup):
        return value
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if found:
        percent = float(found[1])
        if percent >= 100:
            raise ValueError(f"must be less than 100%, not {shown(value)}")
        return Warmup(percent=percent)
    try:
        return Warmup(duration_ns=units.parse_duration(value))
    except ValueError as error:
        raise ValueError(f"{error}, and no share such as 10%") from error


def parse_name(value: object) -> str:
    """A name that fits into a key path. Raises ValueError."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(
            "must be a name of at most 64 letters, digits, _ and - that begins with a letter,"
            f" not {shown(value)}"
        )
    return value


def parse_names(value: object) -> tuple[str, ...]:
    """One name, or a list of names. Raises ValueError."""
    if isinstance(value, list | tuple):
        return tuple(parse_name(name) for name in value)
    if not isinstance(value, str):
        raise ValueError(f"must be a name or a list of names, not {shown(value)}")
    return (parse_name(value),)


def check_cores(cores: tuple[int, ...]) -> None:
    """Raise ValueError for a set of cores that is empty or names one twice."""
    if not cores:
        raise ValueError("cores is an empty list; leave the key out to let any core be used")
    if len(set(cores)) < len(cores):
        twice = next(core for core in cores if cores.count(core) > 1)
        raise ValueError(f"cores names core {twice} twice")


_NAME_SCHEMA: dict[str, Any] = {"type": "string", "pattern": NAME_PATTERN}
_NAMES_SCHEMA = {"anyOf": [_NAME_SCHEMA, {"type": "array", "items": _NAME_SCHEMA}]}
_WARMUP_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": _PERCENT_PATTERN},
        {"type": "string", "pattern": units.DURATION_PATTERN},
        {"const": 0},
    ],
    "examples": ["10%", "2s"],
}

Name = Annotated[str, Spelled(parse_name, str, _NAME_SCHEMA)]
Names = Annotated[tuple[str, ...], Spelled(parse_names, str, _NAMES_SCHEMA)]
WarmupCut = Annotated[Warmup, Spelled(parse_warmup, str, _WARMUP_SCHEMA)]
