"""From the knobs to tune to Optuna's distributions and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import create_trial

from configs.errors import ConfigError
from configs.knob_paths import knob_value, with_knob
from configs.model import Config
from configs.plain import plain
from configs.tuning import KnobRange, Tunable

_STEPS = 1000
"""A duration without a step of its own is searched in a decimal step of at least so many to its range:
finer than any figure can tell apart, and it reads ``3.48ms`` rather than ``3.482913ms``.
"""

Setting = dict[str, Any]
"""Values by the paths of their knobs, those that others lie below first. A knob that is there only under
other choices is left out.
"""
Draw = Callable[[str, BaseDistribution], Any]
"""Gives the value of one of Optuna's parameters."""


class Space:
    """The knobs that are tuned.

    To Optuna a knob goes by its path; one that is there only under some choices by its path and the
    choice, such as ``stages.rank.policy.delay [fixed]``, since what is good under one kind tells little
    of another.
    """

    def __init__(self, knobs: Sequence[Tunable]) -> None:
        self.knobs = tuple(knobs)
        self._by_path = {knob.path: knob for knob in knobs}
        self.distributions = dict(self._named())
        self.conditional = any(knob.above for knob in knobs)

    def draw(self, draw: Draw) -> Setting:
        """The setting whose parameters ``draw`` gives; it is asked only for those that are there."""
        chosen: dict[str, int] = {}
        setting: Setting = {}
        for knob in self.knobs:
            found = self._range(knob, chosen)
            if found is None:
                continue
            key = tuple(chosen[path] for path in knob.above)
            name = self._name(knob, key)
            param = draw(name, self.distributions[name])
            if found.choices is not None:
                chosen[knob.path] = param
            setting[knob.path] = _value(found, param)
        return setting

    def setting(self, params: Mapping[str, Any]) -> Setting:
        """The setting that Optuna's parameters stand for. Raises KeyError where one is missing."""
        return self.draw(lambda name, _: params[name])

    def params(self, config: Config) -> dict[str, Any] | None:
        """Optuna's parameters of the setting that a configuration has; None where a value lies in no
        range, between its steps, or is none of the choices.
        """
        params: dict[str, Any] = {}

        def draw(name: str, _: BaseDistribution) -> Any:
            knob, found = self._behind[name]
            if found.choices is None:
                params[name] = knob_value(config, knob.path)
            else:
                params[name] = self._choice(config, knob, found.choices)
            if params[name] is None:
                raise ValueError(f"{knob.path} is none of the choices")
            return params[name]

        try:
            self.draw(draw)
            create_trial(params=params, distributions=self.used(params), value=0.0)
        except ValueError:
            return None
        return params

    def used(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The distributions of these parameters."""
        return {name: self.distributions[name] for name in params}

    def start(self, config: Config) -> Setting:
        """The setting that the configuration has, whether or not the ranges contain it."""
        setting: Setting = {}
        for knob in self.knobs:
            try:
                setting[knob.path] = knob_value(config, knob.path)
            except ConfigError:
                continue  # only another kind has it
        return setting

    def shown(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """A setting as YAML has it, units in text; a kind without the knobs that stand by themselves."""
        found = {path: self._show(path, value) for path, value in setting.items()}
        for path, value in found.items():
            if isinstance(value, dict):
                below = {other[len(path) + 1 :] for other in found if other.startswith(f"{path}.")}
                found[path] = {key: inner for key, inner in value.items() if key not in below}
        return found

    def key(self, setting: Mapping[str, Any]) -> str:
        """What two settings share only if they are the same."""
        return json.dumps(self.shown(setting), sort_keys=True, default=str)

    def ranges(self) -> dict[str, Any]:
        """What is searched, in plain values: of each parameter its range or choices."""
        return {name: self._plain_range(found) for name, (_, found) in self._behind.items()}

    def _named(self) -> Iterator[tuple[str, BaseDistribution]]:
        self._behind: dict[str, tuple[Tunable, KnobRange]] = {}
        for knob in self.knobs:
            for key, found in knob.ranges.items():
                name = self._name(knob, key)
                self._behind[name] = knob, found
                yield name, _distribution(found)

    def _range(self, knob: Tunable, chosen: Mapping[str, int]) -> KnobRange | None:
        if any(path not in chosen for path in knob.above):
            return None
        return knob.ranges.get(tuple(chosen[path] for path in knob.above))

    def _name(self, knob: Tunable, key: tuple[int, ...]) -> str:
        if not key:
            return knob.path
        labels = []
        for depth, path in enumerate(knob.above):
            choices = self._by_path[path].ranges[key[:depth]].choices or ()
            labels.append(_label(choices, key[depth]))
        return f"{knob.path} [{', '.join(labels)}]"

    def _choice(self, config: Config, knob: Tunable, choices: Sequence[Any]) -> int | None:
        """Which choice a configuration has, the knobs below it aside if they are tuned too."""
        value = knob_value(config, knob.path)
        below = [other.path for other in self.knobs if knob.path in other.above]
        for index, choice in enumerate(choices):
            placed = with_knob(config, knob.path, choice)
            for path in below:
                try:
                    placed = with_knob(placed, path, knob_value(config, path))
                except ConfigError:
                    continue
            if knob_value(placed, knob.path) == value:
                return index
        return None

    def _show(self, path: str, value: Any) -> Any:
        first = next(iter(self._by_path[path].ranges.values()))
        return first.knob.show(value)

    def _plain_range(self, found: KnobRange) -> Any:
        show = found.knob.show
        if found.choices is not None:
            return [show(choice) for choice in found.choices]
        rest = {"step": found.step and show(found.step), "log": found.log}
        given = {key: value for key, value in rest.items() if value}
        return {"low": show(found.low), "high": show(found.high), **given}


def with_setting(config: Config, setting: Mapping[str, Any]) -> Config:
    """``config`` with the knobs of a setting put in, unchecked."""
    for path, value in setting.items():
        config = with_knob(config, path, value)
    return config


def _label(choices: Sequence[Any], index: int) -> str:
    """A choice by its kind, and by its position too where others are of that kind."""
    kinds = [str(getattr(choice, "kind", plain(choice))) for choice in choices]
    label = kinds[index]
    return label if kinds.count(label) == 1 else f"{label} {index + 1}"


def _value(found: KnobRange, param: Any) -> Any:
    """The value that a parameter stands for; four digits of a number without a step."""
    if found.choices is not None:
        return found.choices[param]
    number = found.knob.number
    if number is None or found.step is not None or not (found.log or number is float):
        return param
    if number is int and found.knob.unit is None:
        return param
    return min(max(number(float(f"{param:.4g}")), found.low), found.high)


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
