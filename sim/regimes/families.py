"""The candidates of a regime map: ways of forming batches, each with the settings that it may choose from.

Two levers decide what is answered in time, the cap on a batch and the hold, and they must be told apart.
So there is always a way that turns the cap alone: what it gains is not credited to holding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from configs.model import Config
from configs.units import format_duration
from policies.contract import Policy
from policies.fixed import Fixed
from policies.immediate import Immediate
from sim.planning.problem import Setting, Settings
from sim.service.of_stage import model_of_stage

_LOADS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
"""Loads of a stage for which the smallest cap is tried."""
_STEPS = (0.5, 0.7, 0.85, 1.2, 1.4, 2.0)
"""What a cap or a delay is multiplied by to look about."""
_LEAST_SHARE, _MOST_SHARE, _DELAYS = 0.02, 0.5, 8
"""Delays that are tried first: from so much of the least objective to so much of the largest."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A pipeline under a load, and what it may be asked to reach there."""

    config: Config
    """Its arrivals are at the load's rate."""
    load: float
    """Share of the capacity."""
    rate_hz: float
    objectives_ns: tuple[int, ...]


class Family(Protocol):
    """A candidate. ``holds`` says whether it ever keeps a request waiting that could be sent."""

    @property
    def name(self) -> str:
        """What the map calls it."""
        ...

    @property
    def holds(self) -> bool: ...  # noqa: D102

    def first(self, spot: Spot) -> Sequence[Settings]:
        """The settings that are tried first, at least one."""
        ...

    def around(self, spot: Spot, settings: Settings) -> Sequence[Settings]:
        """Those that lie about one of its settings; none where there is nothing to choose."""
        ...

    def told(self, settings: Settings) -> str:
        """One of its settings in a few words."""
        ...


@dataclass(frozen=True, slots=True)
class Greedy:
    """Send what waits as soon as a replica is free, in batches as large as configured."""

    name: str = "greedy"
    holds: bool = False

    def first(self, spot: Spot) -> Sequence[Settings]:
        """The one that there is."""
        return [tuple(Setting(Immediate(), stage.max_batch) for stage in spot.config.stages)]

    def around(self, spot: Spot, settings: Settings) -> Sequence[Settings]:  # noqa: ARG002
        """Nothing to choose."""
        return ()

    def told(self, settings: Settings) -> str:
        """The caps as they are configured."""
        return f"caps {_caps(settings)}"


@dataclass(frozen=True, slots=True)
class Caps:
    """The same with a cap for each stage, chosen among those up to the configured one."""

    name: str = "caps"
    holds: bool = False

    def first(self, spot: Spot) -> Sequence[Settings]:
        """One cap for all, by powers of two; and for several loads the least that bears the rate."""
        most = max(stage.max_batch for stage in spot.config.stages)
        alike = [[cap] * len(spot.config.stages) for cap in _powers(most)]
        fitted = [_bearing(spot, load) for load in _LOADS]
        return list(dict.fromkeys(_capped(spot, caps) for caps in [*alike, *fitted]))

    def around(self, spot: Spot, settings: Settings) -> Sequence[Settings]:
        """Another cap at one stage, or at all of them."""
        caps = [each.max_batch for each in settings]
        found = []
        for step in _STEPS:
            stepped = [_stepped(cap, step) for cap in caps]
            found.append(_capped(spot, stepped))
            for place, cap in enumerate(stepped):
                found.append(_capped(spot, [*caps[:place], cap, *caps[place + 1 :]]))
        return [each for each in dict.fromkeys(found) if each != settings]

    def without_hold(self, spot: Spot, settings: Settings) -> Settings:
        """The caps of another candidate's settings."""
        return _capped(spot, [each.max_batch for each in settings])

    def told(self, settings: Settings) -> str:
        """The caps."""
        return f"caps {_caps(settings)}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One delay and one cap for all stages, tuned together; the delay is more than none."""

    name: str = "pair"
    holds: bool = True

    def first(self, spot: Spot) -> Sequence[Settings]:
        """Delays by factors between shares of the objectives, with caps by powers of two."""
        most = max(stage.max_batch for stage in spot.config.stages)
        delays = _delays(spot.objectives_ns)
        found = (_held(spot, delay, cap) for delay in delays for cap in _powers(most))
        return list(dict.fromkeys(found))

    def around(self, spot: Spot, settings: Settings) -> Sequence[Settings]:
        """A somewhat other delay, or cap."""
        delay_ns, cap = _pair(settings)
        found = [_held(spot, _two_digits(delay_ns * step), cap) for step in _STEPS]
        found += [_held(spot, delay_ns, _stepped(cap, step)) for step in _STEPS]
        return [each for each in dict.fromkeys(found) if each != settings]

    def told(self, settings: Settings) -> str:
        """Both."""
        delay_ns, cap = _pair(settings)
        return f"delay {format_duration(delay_ns)}, cap {cap}"


@dataclass(frozen=True, slots=True)
class Held:
    """A cap for each stage as :class:`Caps` has it, and on top one delay for all: what it gains over that
    is the hold's.
    """

    name: str = "held"
    holds: bool = True

    def first(self, spot: Spot) -> Sequence[Settings]:
        """The first of :class:`Caps`, each with every delay of :class:`Pair`."""
        found = (
            _delayed(caps, delay)
            for caps in Caps().first(spot)
            for delay in _delays(spot.objectives_ns)
        )
        return list(dict.fromkeys(found))

    def around(self, spot: Spot, settings: Settings) -> Sequence[Settings]:
        """Another cap at one stage or at all, or a somewhat other delay."""
        delay_ns, _ = _pair(settings)
        found = [_delayed(caps, delay_ns) for caps in Caps().around(spot, settings)]
        found += [_delayed(settings, _two_digits(delay_ns * step)) for step in _STEPS]
        return [each for each in dict.fromkeys(found) if each != settings]

    def told(self, settings: Settings) -> str:
        """Both."""
        return f"delay {format_duration(_pair(settings)[0])}, caps {_caps(settings)}"


@dataclass(frozen=True, slots=True)
class Given:
    """Policies that are what they are, in batches as large as configured: the configuration's own, or one
    for all stages.
    """

    name: str
    policies: tuple[Policy, ...]

    @property
    def holds(self) -> bool:
        """Anything but ``immediate`` may."""
        return any(not isinstance(policy, Immediate) for policy in self.policies)

    def first(self, spot: Spot) -> Sequence[Settings]:
        """The one that there is."""
        stages = spot.config.stages
        return [
            tuple(
                Setting(policy, stage.max_batch)
                for policy, stage in zip(self.policies, stages, strict=True)
            )
        ]

    def around(self, spot: Spot, settings: Settings) -> Sequence[Settings]:  # noqa: ARG002
        """Nothing to choose."""
        return ()

    def told(self, settings: Settings) -> str:  # noqa: ARG002
        """Their kinds."""
        return ", ".join(dict.fromkeys(policy.kind for policy in self.policies))


def configured(config: Config, settings: Settings) -> Config:
    """The configuration with the settings put in."""
    stages = tuple(
        replace(stage, policy=setting.policy, max_batch=setting.max_batch)
        for stage, setting in zip(config.stages, settings, strict=True)
    )
    return replace(config, stages=stages)


def _powers(most: int) -> Iterator[int]:
    """1, 2, 4, ... and the most."""
    size = 1
    while size < most:
        yield size
        size *= 2
    yield most


def _stepped(cap: int, step: float) -> int:
    """A cap by a factor, and by one at least."""
    return max(1, min(cap - 1, round(cap * step)) if step < 1 else max(cap + 1, round(cap * step)))


def _capped(spot: Spot, caps: Sequence[int]) -> Settings:
    return tuple(
        Setting(Immediate(), max(1, min(cap, stage.max_batch)))
        for cap, stage in zip(caps, spot.config.stages, strict=True)
    )


def _delays(objectives_ns: Sequence[int]) -> list[int]:
    low = _LEAST_SHARE * min(objectives_ns)
    high = _MOST_SHARE * max(objectives_ns)
    factor = (high / low) ** (1 / (_DELAYS - 1))
    return [_two_digits(low * factor**k) for k in range(_DELAYS)]


def _delayed(settings: Settings, delay_ns: int) -> Settings:
    """The same caps under a hold."""
    return tuple(Setting(Fixed(max(delay_ns, 1)), each.max_batch) for each in settings)


def _held(spot: Spot, delay_ns: int, cap: int) -> Settings:
    stages = spot.config.stages
    return tuple(Setting(Fixed(max(delay_ns, 1)), min(cap, stage.max_batch)) for stage in stages)


def _pair(settings: Settings) -> tuple[int, int]:
    """The delay that settings have in common, and their largest cap."""
    policy = settings[0].policy
    if not isinstance(policy, Fixed):
        raise TypeError(f"a delay for all holds by `fixed`, not {policy.kind}")
    return policy.delay_ns, max(each.max_batch for each in settings)


def _bearing(spot: Spot, load: float) -> list[int]:
    """For each stage the smallest cap at which full batches would load it no more than this.

    Stages that share a device share its slots alike. Where no cap is enough, the largest.
    """
    config = spot.config
    found = []
    for stage in config.stages:
        model = model_of_stage(config, stage)
        servers = float(stage.replicas)
        if stage.device and not config.devices[stage.device[0]].each:
            name = stage.device[0]
            mates = sum(name in other.device for other in config.stages)
            servers = min(servers, config.devices[name].slots / mates)
        bears = (
            cap
            for cap in range(1, stage.max_batch + 1)
            if spot.rate_hz * model.expected_ns(cap, cap) / (cap * servers * 1e9) <= load
        )
        found.append(next(bears, stage.max_batch))
    return found


def _caps(settings: Settings) -> str:
    sizes = [each.max_batch for each in settings]
    return str(sizes[0]) if len(set(sizes)) == 1 else "/".join(map(str, sizes))


def _two_digits(value: float) -> int:
    if value < 1:
        return 1
    unit = int(10 ** max(0, math.floor(math.log10(value)) - 1))
    return round(value / unit) * unit
