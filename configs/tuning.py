"""The knobs to tune, with their ranges in the knobs' own units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from configs.errors import ConfigError, Problem
from configs.fields import NO_BOUNDS
from configs.knob_paths import Knob, knob_at
from configs.model import Config, TuneRange


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
    return ConfigError([Problem("", knob.path, text)])
