"""Timing in turns: A B C A B C ..., so that ratios hold on a machine whose speed drifts."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to time: a call simulates so many requests, and a turn is so many calls."""

    name: str
    run: Callable[[], object]
    requests: int
    calls: int = 1


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of repeated measurements."""

    median: float
    min: float
    max: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return Spread(statistics.median(values), min(values), max(values))

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Race:
    """Requests a second of several contenders, one value a round."""

    rates_hz: dict[str, list[float]]

    def rate_hz(self, name: str) -> Spread:
        """A contender's requests a second."""
        return Spread.of(self.rates_hz[name])

    def ratio(self, name: str, other: str) -> Spread:
        """How many times as fast one is as the other, round by round."""
        pairs = zip(self.rates_hz[name], self.rates_hz[other], strict=True)
        return Spread.of([one / two for one, two in pairs])


def race(contenders: Sequence[Contender], rounds: int) -> Race:
    """Each contender once untimed, so that caches are warm, then all in turn, ``rounds`` times."""
    for contender in contenders:
        contender.run()
    rates_hz: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            gc.collect()  # what one leaves behind is not the next one's work
            took_s = seconds(contender.run, contender.calls)
            rates_hz[contender.name].append(contender.requests / took_s)
    return Race(rates_hz)


def seconds(run: Callable[[], object], calls: int = 1) -> float:
    """Wall time of a call, the mean of so many."""
    began = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - began) / calls
