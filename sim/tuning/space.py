"""From the ranges of a configuration to Optuna's distributions and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from configs.knob_paths import with_knob
from configs.model import Config
from configs.tuning import KnobRange

_STEPS = 1000
"""A duration without a step of its own is searched in a decimal step of at least so many to its range:
finer than any figure can tell apart, and it reads ``3.48ms`` rather than ``3.482913ms``.
"""


class Space:
    """The knobs that are tuned. A setting is a mapping from a knob's path to its value."""

    def __init__(self, ranges: Sequence[KnobRange]) -> None:
        self.ranges = {found.path: found for found in ranges}
        self.distributions = {path: _distribution(found) for path, found in self.ranges.items()}

    def setting(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The setting that Optuna's parameters stand for."""
        return {path: self._value(path, params[path]) for path in self.ranges}

    def params(self, setting: Mapping[str, Any]) -> dict[str, Any] | None:
        """Optuna's parameters of a setting; None where a value is none, or none of the choices."""
        found: dict[str, Any] = {}
        for path, known in self.ranges.items():
            value = setting[path]
            if value is None or (known.choices is not None and value not in known.choices):
                return None
            found[path] = value if known.choices is None else known.choices.index(value)
        return found

    def shown(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """A setting as YAML has it, units in text."""
        return {path: self.ranges[path].knob.show(value) for path, value in setting.items()}

    def start(self) -> dict[str, Any]:
        """The setting that the configuration has."""
        return {path: found.knob.value for path, found in self.ranges.items()}

    def _value(self, path: str, param: Any) -> Any:
        choices = self.ranges[path].choices
        return param if choices is None else choices[param]


def with_setting(config: Config, setting: Mapping[str, Any]) -> Config:
    """``config`` with the knobs of a setting put in, unchecked."""
    for path, value in setting.items():
        config = with_knob(config, path, value)
    return config


def _distribution(found: KnobRange) -> BaseDistribution:
    if found.choices is not None:
        # By position: Optuna knows no values beyond plain ones.
        return CategoricalDistribution(tuple(range(len(found.choices))))
    if found.knob.number is int:
        step = found.step or _natural_step(found)
        high = found.low + (found.high - found.low) // step * step
        return IntDistribution(found.low, high, log=found.log, step=step)
    if found.step is None:
        return FloatDistribution(found.low, found.high, log=found.log)
    low, high, step = (Decimal(str(value)) for value in (found.low, found.high, found.step))
    return FloatDistribution(found.low, float(low + (high - low) // step * step), step=found.step)


def _natural_step(found: KnobRange) -> int:
    if found.log or found.knob.unit != "duration":
        return 1
    step = int(10 ** math.floor(math.log10(max((found.high - found.low) / _STEPS, 1))))
    return step if (found.high - found.low) % step == 0 and found.low % step == 0 else 1
