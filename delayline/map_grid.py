"""What a regime map is over: loads, objectives and candidates, as the command line names them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from configs.checks import checked
from configs.errors import ConfigError, nearest
from configs.kinds import kinds
from configs.knob_paths import knob_at
from configs.model import Config
from configs.units import format_duration, parse_duration
from configs.yaml_text import parse_yaml
from delayline.errors import CommandError
from policies.contract import Policy
from policies.immediate import Immediate
from sim.regimes.families import Caps, Family, Given, Greedy, Held, Pair

T = TypeVar("T", int, float)
CONFIGURED = "configured"
_OWN = "cadence"
"""A policy of ours that is a candidate by default, where it is there."""
_MOST_VALUES = 100
_MOST_LOAD = 2.0
_LOADS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_QUICK_LOADS = (0.2, 0.4, 0.6, 0.8, 0.95)
_TIMES = (1.5, 2.0, 2.7, 3.6, 5.0, 7.0)
"""Objectives that are looked at, as multiples of what a request takes alone."""
_QUICK_TIMES = (1.5, 2.5, 4.0)


def default_loads(*, quick: bool) -> tuple[float, ...]:
    """Shares of the capacity."""
    return _QUICK_LOADS if quick else _LOADS


def default_objectives(config: Config, least_ns: float, *, quick: bool) -> tuple[int, ...]:
    """Multiples of what a request takes alone, and the configured objective."""
    found = {_two_digits(least_ns * times) for times in (_QUICK_TIMES if quick else _TIMES)}
    if config.objective is not None and config.objective.latency_ns >= least_ns:
        found.add(config.objective.latency_ns)
    return tuple(sorted(found))


def parse_loads(text: str) -> tuple[float, ...]:
    """``0.1,0.5,0.9`` or ``0.1..0.9:9``, in equal steps. Raises CommandError."""

    def load(part: str) -> float:
        try:
            value = float(part.removesuffix("%")) / (100 if part.endswith("%") else 1)
        except ValueError:
            raise ValueError(f"{part} is no number; write 0.5 or 50%") from None
        if not 0 < value <= _MOST_LOAD:
            raise ValueError(
                f"a load is a share of the capacity, above 0 and at most {_MOST_LOAD:g}, not {part}"
            )
        return value

    def steps(low: float, high: float, count: int) -> list[float]:
        return [round(low + (high - low) * k / (count - 1), 6) for k in range(count)]

    return _values("--loads", text, load, steps)


def parse_objectives(text: str) -> tuple[int, ...]:
    """``5ms,10ms`` or ``5ms..40ms:6``, by equal factors. Raises CommandError."""

    def objective(part: str) -> int:
        value = parse_duration(part)
        if not value:
            raise ValueError("an objective must be more than 0ms")
        return value

    def steps(low: int, high: int, count: int) -> list[int]:
        between = (low * (high / low) ** (k / (count - 1)) for k in range(1, count - 1))
        return [low, *map(_two_digits, between), high]

    return _values("--objectives", text, objective, steps)


def check_objectives(objectives_ns: Sequence[int], least_ns: float) -> None:
    """Raises CommandError for one that no request could be answered within."""
    for objective_ns in objectives_ns:
        if objective_ns < least_ns:
            raise CommandError(
                f"--objectives {format_duration(objective_ns)} is out of reach: by its mean service"
                f" times a request takes {format_duration(math.ceil(least_ns))} even if it never waits;"
                " ask for more"
            )


def families(config: Config, asked: Sequence[str]) -> tuple[Family, ...]:
    """The candidates of these names, or those that are there by default.

    A name is ``greedy``, ``caps``, ``pair``, ``held``, ``configured``, or a policy for every stage: a kind,
    or one with its knobs, ``{kind: fixed, delay: 2ms}``. Raises CommandError, ConfigError.
    """
    own = tuple(stage.policy for stage in config.stages)
    known: dict[str, Family] = {each.name: each for each in (Greedy(), Caps(), Pair(), Held())}
    known[CONFIGURED] = Given(CONFIGURED, own)
    names = list(asked)
    if not names:
        names = ["greedy", "caps", "pair", "held"]
        names += [_OWN] if _OWN in kinds("policy") else []
        names += [CONFIGURED] if any(not isinstance(each, Immediate) for each in own) else []
    found = tuple(known[name] if name in known else _given(config, name) for name in names)
    for number, name in enumerate(names):
        if name in names[:number]:
            raise CommandError(f"--policy {name} is given twice")
    return found


def _given(config: Config, text: str) -> Given:
    """One policy for all stages."""
    read: Any = parse_yaml(text, "--policy") if text.lstrip().startswith("{") else text
    if isinstance(read, str) and read not in kinds("policy"):
        known = ["greedy", "caps", "pair", "held", CONFIGURED, *kinds("policy")]
        raise CommandError(
            f"--policy {text}: there is no such candidate; {nearest(text, known, called='candidates')}"
        )
    found: list[Policy] = []
    for stage in config.stages:
        try:
            found.append(knob_at(config, f"stages.{stage.name}.policy").read(read))
        except ConfigError as error:
            problem = error.problems[0]
            knob = problem.where.removeprefix(f"stages.{stage.name}.policy").lstrip(".")
            told = f"{knob} {problem.text}".lstrip()
            raise CommandError(f"--policy {text}: {told}") from error
    stages = tuple(
        replace(stage, policy=policy) for stage, policy in zip(config.stages, found, strict=True)
    )
    try:
        checked(replace(config, stages=stages, tune={}))
    except ConfigError as error:
        problem = error.problems[0]
        raise CommandError(f"--policy {text}: {problem.where}: {problem.text}") from error
    return Given(text, tuple(found))


def _values(
    option: str,
    text: str,
    read: Callable[[str], T],
    steps: Callable[[T, T, int], list[T]],
) -> tuple[T, ...]:
    """The values of a list or a range, ascending, each once."""
    try:
        low, dots, rest = text.partition("..")
        if not dots:
            found = [read(part.strip()) for part in text.strip("[] ").split(",")]
        else:
            high, _, count = rest.partition(":")
            first, last = read(low.strip()), read(high.strip())
            if not count.strip().isdecimal() or not 2 <= int(count) <= _MOST_VALUES:
                raise ValueError(
                    f"a range needs a count of 2 to {_MOST_VALUES}, such as {low}..{high}:6"
                )
            if not first < last:
                raise ValueError(f"{low.strip()} is not below {high.strip()}")
            found = steps(first, last, int(count))
    except ValueError as error:
        raise CommandError(f"{option} {text}: {error}") from error
    return tuple(sorted(dict.fromkeys(found)))


def _two_digits(value: float) -> int:
    unit = int(10 ** max(0, math.floor(math.log10(value)) - 1))
    return round(value / unit) * unit
