"""What is planned: pools of replicas to be bought, holds to be set, and the configuration of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from configs.errors import ConfigError, Problem
from configs.model import MOST_REPLICAS, Config, DeviceConfig, ObjectiveConfig, StageConfig
from configs.units import format_duration
from policies.contract import Policy
from policies.fixed import Fixed
from policies.immediate import Immediate

NS_PER_MS = 1e6
NO_DEVICE = ""
"""The device of a stage that names none: each of its replicas has one of its own."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a pool gets: so many of this device."""

    device: str
    count: int


Allocation = tuple[Choice, ...]
"""A choice for each pool, in their order."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What is bought together: the replicas of one stage, or the slots of a device that stages share."""

    name: str
    """Of the stage, or of the device."""
    stages: tuple[str, ...]
    prices: Mapping[str, float]
    """Money an hour for one, by the device that it may be; 1 where nothing has a price."""
    shared: bool = False
    most: int = MOST_REPLICAS

    def what(self, count: int) -> str:
        """So many of it in words."""
        unit = "slot" if self.shared else "replica"
        return f"{count} {unit}{'' if count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Setting:
    """How a stage forms batches."""

    policy: Policy
    max_batch: int

    def held(self, delay_ns: int) -> Setting:
        """The same with a fixed hold; none at all stays ``immediate`` where it was."""
        if delay_ns == 0 and isinstance(self.policy, Immediate):
            return self
        return Setting(Fixed(delay_ns), self.max_batch)

    @property
    def allowed(self) -> bool:
        """Whether the policy can be had with the size."""
        try:
            self.policy.check(self.max_batch)
        except ValueError:
            return False
        return True


Most = int | Mapping[str, int] | None
"""The most that a pool may have: for all, by name, or no bound but the configuration's own."""

Settings = tuple[Setting, ...]
"""A setting for each stage, in the configuration's order."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A whole plan."""

    allocation: Allocation
    settings: Settings


@dataclass(frozen=True, slots=True)
class Planned:
    """A configuration whose replicas and holds are to be found, under steady arrivals."""

    config: Config
    """With arrivals at the rate that is planned for, and an objective."""
    pools: tuple[Pool, ...]
    priced: bool
    """Whether costs are money; otherwise every replica counts 1."""
    mean_items: float

    @property
    def objective(self) -> ObjectiveConfig:
        """The objective. Raises ValueError for a configuration without one."""
        if self.config.objective is None:
            raise ValueError(
                "objective is not set; planning needs one: `objective: {latency: 50ms}`"
            )
        return self.config.objective

    @property
    def objective_ms(self) -> float:
        """The latency to stay within."""
        return self.objective.latency_ns / NS_PER_MS

    @property
    def goal(self) -> str:
        """The objective in words."""
        return f"p{self.objective.percentile:g} within {format_duration(self.objective.latency_ns)}"

    @property
    def rate_hz(self) -> float:
        """The rate that is planned for."""
        rate: float = self.config.workload.arrivals.mean_rate_hz()
        return rate

    def cost(self, allocation: Allocation) -> float:
        """Money an hour, or replicas."""
        pairs = zip(self.pools, allocation, strict=True)
        return sum(pool.prices[choice.device] * choice.count for pool, choice in pairs)

    def configured(self) -> Settings:
        """The settings that the configuration has."""
        return tuple(Setting(stage.policy, stage.max_batch) for stage in self.config.stages)

    def config_of(self, candidate: Candidate, rate_hz: float | None = None) -> Config:
        """The configuration with a candidate put in, at another rate if one is given."""
        return self.at_rate(put_in(self.config, self.pools, candidate), rate_hz)

    def at_rate(self, config: Config, rate_hz: float | None) -> Config:
        """``config`` with its arrivals at a mean rate."""
        if rate_hz is None or rate_hz == self.rate_hz:
            return config
        arrivals = self.config.workload.arrivals.scaled(rate_hz / self.rate_hz)
        return replace(config, workload=replace(config.workload, arrivals=arrivals))


def put_in(config: Config, pools: Sequence[Pool], candidate: Candidate) -> Config:
    """A configuration with the replicas, devices and holds of a candidate."""
    chosen = {
        name: choice
        for pool, choice in zip(pools, candidate.allocation, strict=True)
        for name in pool.stages
    }
    stages = tuple(
        _stage(stage, chosen[stage.name], setting)
        for stage, setting in zip(config.stages, candidate.settings, strict=True)
    )
    devices = dict(config.devices)
    for pool, choice in zip(pools, candidate.allocation, strict=True):
        if pool.shared:
            devices[pool.name] = replace(devices[pool.name], slots=choice.count)
    return replace(config, stages=stages, devices=devices)


def _stage(stage: StageConfig, choice: Choice, setting: Setting) -> StageConfig:
    return replace(
        stage,
        replicas=choice.count,
        device=(choice.device,) if choice.device else (),
        policy=setting.policy,
        max_batch=setting.max_batch,
    )


def pools_of(config: Config, most: Most = None) -> tuple[tuple[Pool, ...], bool]:
    """The pools of a configuration, and whether they have prices.

    A stage may be on the device that it names, and on every device type that its ``service_on`` has
    times for; stages that name one shared device are a pool together. ``most`` bounds the pools: all of
    them, or by the name of a stage or a device. Raises ConfigError for replicas that come and go or are of
    one stage on several devices, and where only some devices have a price.
    """
    places: dict[str, tuple[str, ...]] = {}
    shared: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for stage in config.stages:
        named = list(dict.fromkeys(stage.device)) or [NO_DEVICE]
        if stage.autoscale is not None:
            where = f"stages.{stage.name}.autoscale"
            text = "is set, and planning finds how many replicas there are to be; leave it out"
            problems.append(Problem("", where, text))
        elif len(named) > 1:
            where = f"stages.{stage.name}.device"
            text = f"names {' and '.join(named)}; planning gives all replicas of a stage one device"
            problems.append(Problem("", where, text))
        elif named[0] and not config.devices[named[0]].each:
            shared.setdefault(named[0], []).append(stage.name)
        else:
            types = [name for name in stage.service_on if config.devices[name].each]
            places[stage.name] = tuple(dict.fromkeys(named + types))
    priced = any(device.price_per_hour is not None for device in config.devices.values())
    problems += _unpriced(config, places, shared) if priced else []
    if problems:
        raise ConfigError(problems)

    def limit(*names: str) -> int:
        if most is None or isinstance(most, int):
            return most or MOST_REPLICAS
        return min(most.get(name, MOST_REPLICAS) for name in names)

    def prices(names: Sequence[str]) -> dict[str, float]:
        return {name: _price(config.devices.get(name)) if priced else 1.0 for name in names}

    found = [Pool(name, (name,), prices(names), most=limit(name)) for name, names in places.items()]
    found += [
        Pool(name, tuple(of), prices([name]), shared=True, most=limit(name, *of))
        for name, of in shared.items()
    ]
    order = [stage.name for stage in config.stages]
    return tuple(sorted(found, key=lambda pool: order.index(pool.stages[0]))), priced


def _price(device: DeviceConfig | None) -> float:
    return 0.0 if device is None or device.price_per_hour is None else device.price_per_hour


def _unpriced(
    config: Config, places: Mapping[str, Sequence[str]], shared: Mapping[str, Sequence[str]]
) -> list[Problem]:
    used = dict.fromkeys(name for names in (*places.values(), shared) for name in names)
    found = [
        Problem("", f"devices.{name}.price", "is not set, and other devices have one")
        for name in used
        if name and config.devices[name].price_per_hour is None
    ]
    found += [
        Problem("", f"stages.{name}.device", "is not set, so its replicas have no price; name one")
        for name, devices in places.items()
        if NO_DEVICE in devices
    ]
    return found
