"""What a setting costs: the time that replicas are busy, or all that is paid for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from configs.errors import ConfigError, Problem
from configs.knob_paths import with_knob
from configs.model import Config
from configs.tuning import KnobRange, Tunable

CostName = Literal["busy", "paid"]
_NO_DEVICE = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What is made small once the objective is met."""

    name: CostName
    priced: bool = False
    """Whether what is paid is money."""

    @property
    def label(self) -> str:
        """As a table has it, with the unit."""
        if self.name == "busy":
            return "busy seconds per 1,000 answers"
        return "price an hour" if self.priced else "replicas paid for"

    @property
    def unit(self) -> str:
        """What follows a figure in a sentence."""
        if self.name == "busy":
            return "s busy per 1,000 answers"
        return "an hour" if self.priced else "replicas"


def cost_of(config: Config, knobs: tuple[Tunable, ...], asked: CostName | None = None) -> Cost:
    """The cost that is asked for, or the right one: what is paid if a knob that is tuned changes that,
    the time that replicas are busy if not.

    Raises ConfigError where what is paid counts, and some devices have a price and others have none, or it
    hangs on the run how many replicas there are.
    """
    name = asked or ("paid" if _changes_pay(config, knobs) else "busy")
    if name == "paid" and (problems := list(_scaled(config))):
        raise ConfigError(problems)
    priced = has_prices(config)
    if name == "paid" and priced and (problems := list(_unpriced(config))):
        raise ConfigError(problems)
    return Cost(name, priced)


def has_prices(config: Config) -> bool:
    """Whether any device has a price."""
    return any(device.price_per_hour is not None for device in config.devices.values())


def paid(config: Config) -> float:
    """What a configuration costs to have, busy or not: money an hour where devices have prices, else
    replicas.

    Every replica is paid for that has a device of its own, at the price of its device; on a device that
    is shared, its slots are, as many as it has, once for all stages. ``plan`` counts the same.
    """
    return _paid(config, has_prices(config))


def _paid(config: Config, priced: bool) -> float:
    counts: Counter[str] = Counter()
    for stage in config.stages:
        names = stage.device * stage.replicas if len(stage.device) == 1 else stage.device
        counts.update(names or [_NO_DEVICE] * stage.replicas)
    total = 0.0
    for name, count in counts.items():
        if name == _NO_DEVICE:
            total += 0.0 if priced else count
            continue
        device = config.devices[name]
        each = (device.price_per_hour or 0.0) if priced else 1.0
        total += each * (count if device.each else device.slots)
    return total


def _changes_pay(config: Config, knobs: tuple[Tunable, ...]) -> bool:
    """Whether any value of a knob changes the price, or how many there are to be paid for."""
    known = paid(config), _paid(config, priced=False)
    placed = (
        with_knob(config, knob.path, value)
        for knob in knobs
        if not knob.above
        for found in knob.ranges.values()
        for value in _ends(found)
    )
    return any((paid(each), _paid(each, priced=False)) != known for each in placed)


def _ends(found: KnobRange) -> Iterator[object]:
    yield from found.choices if found.choices is not None else (found.low, found.high)


def _scaled(config: Config) -> Iterator[Problem]:
    for stage in config.stages:
        if stage.autoscale is not None:
            where = f"stages.{stage.name}.autoscale"
            text = "is set, so that what is paid hangs on the run; tune for `--cost busy`, or leave it out"
            yield Problem("", where, text)


def _unpriced(config: Config) -> Iterator[Problem]:
    for stage in config.stages:
        if not stage.device:
            where = f"stages.{stage.name}.device"
            yield Problem("", where, "is not set, so its replicas have no price; name one")
        for name in dict.fromkeys(stage.device):
            if config.devices[name].price_per_hour is None:
                where = f"devices.{name}.price"
                yield Problem("", where, "is not set, and other devices have one")
