"""The replicas of each hour, where traffic varies over the day: as many of the plan's as it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

from sim.planning.bounds import work
from sim.planning.evaluate import Evaluator, Ladder
from sim.planning.options import by_cost
from sim.planning.problem import Allocation, Choice, Planned
from sim.planning.verify import Reached, Verified, Verifier

_LEVELS = 8
"""Rates that are planned for; an hour gets the plan of the next level at or above its own rate."""
_TRIES = 32
"""Allocations of a level that are tried before the level above's is kept."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the cycle."""

    number: int
    rate_hz: float
    """The highest rate in it."""
    allocation: Allocation
    cost: float
    reached: Reached
    """At the rate of its level, which is at least its own."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hour by hour, against the static plan."""

    hour_ns: int
    hours: tuple[Hour, ...]
    static_cost: float

    @property
    def cost(self) -> float:
        """Money an hour, on average over the hours; the time to start and stop replicas not counted."""
        return sum(hour.cost for hour in self.hours) / len(self.hours)

    @property
    def saved(self) -> float:
        """Share of the static plan's cost that the schedule saves."""
        return 1 - self.cost / self.static_cost if self.static_cost else 0.0


class Scheduler:
    """Finds for lower rates the cheapest part of a plan, with the plan's devices and holds."""

    def __init__(
        self, planned: Planned, evaluator: Evaluator, verifier: Verifier, best: Verified
    ) -> None:
        self._planned = planned
        self._evaluator = evaluator
        self._verifier = verifier
        self._best = best
        self._ladder = Ladder.of(verifier.requests)

    def schedule(self, rates_hz: Sequence[float], hour_ns: int) -> Schedule:
        """The plan of each hour, by its highest rate.

        Levels are gone through from the planned rate down; each is offered what the level above needed
        and less, cheapest first, and keeps the first that is verified at its rate.
        """
        peak_hz = self._best.reached.rate_hz
        levels = _levels(rates_hz, peak_hz)
        found = {levels[0]: (self._best.candidate.allocation, self._best.reached)}
        for above_hz, level_hz in pairwise(levels):
            found[level_hz] = self._cheapest(found[above_hz][0], level_hz)
        hours = []
        for number, rate_hz in enumerate(rates_hz):
            level_hz = min((each for each in levels if each >= rate_hz), default=levels[0])
            allocation, reached = found[level_hz]
            hours.append(Hour(number, rate_hz, allocation, self._planned.cost(allocation), reached))
        return Schedule(hour_ns, tuple(hours), self._best.cost)

    def _cheapest(self, above: Allocation, rate_hz: float) -> tuple[Allocation, Reached]:
        share = rate_hz / self._planned.rate_hz
        load = [
            {choice.device: share * work(self._planned, pool, choice.device)}
            for pool, choice in zip(self._planned.pools, above, strict=True)
        ]
        options = [
            [Choice(c.device, count) for count in range(int(of[c.device]) + 1, c.count + 1)] or [c]
            for c, of in zip(above, load, strict=True)
        ]

        def busiest(allocation: Allocation) -> float:
            pairs = zip(load, allocation, strict=True)
            return max(of[choice.device] / choice.count for of, choice in pairs)

        groups = by_cost(self._planned, options, busiest)
        allocations = (allocation for _, group in groups for allocation in group)
        for allocation in islice(allocations, _TRIES):
            candidate = replace(self._best.candidate, allocation=allocation)
            if (
                self._ladder.climb(self._evaluator, candidate, rate_hz)
                <= self._planned.objective_ms
            ):
                reached = self._verifier.at(candidate, [rate_hz])[0]
                if reached.within(self._planned.objective_ms):
                    return allocation, reached
        candidate = replace(self._best.candidate, allocation=above)
        return above, self._verifier.at(candidate, [rate_hz])[0]


def _levels(rates_hz: Sequence[float], peak_hz: float) -> list[float]:
    """The peak, and rates below it in equal steps down to the lowest hour's, highest first."""
    low_hz = max(min(rates_hz), peak_hz / 1000)
    step_hz = (peak_hz - low_hz) / _LEVELS
    return (
        [peak_hz - number * step_hz for number in range(_LEVELS + 1)] if step_hz > 0 else [peak_hz]
    )
