"""How sure a plan is: its latency on replications that the search has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sim.planning.evaluate import Evaluator, Task
from sim.planning.problem import Candidate
from sim.statistics import Interval, mean_interval

FRESH_FROM = 200_000
"""First of the replications that plans are verified on; the search uses the first few from 0."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The latency at the objective's percentile over fresh replications."""

    rate_hz: float
    each_ms: tuple[float, ...]

    @property
    def interval(self) -> Interval | None:
        """Student's t interval of the mean; None where a replication left too many without an answer."""
        if not all(map(math.isfinite, self.each_ms)):
            return None
        return mean_interval(self.each_ms)

    @property
    def high_ms(self) -> float:
        """The upper end of the interval; infinite where there is none."""
        found = self.interval
        return math.inf if found is None else found.high

    def within(self, objective_ms: float) -> bool:
        """Whether the whole interval lies within the objective."""
        return self.high_ms <= objective_ms


@dataclass(frozen=True, slots=True)
class Verified:
    """A plan with its cost, and its latency on fresh replications."""

    candidate: Candidate
    cost: float
    reached: Reached


class Verifier:
    """Runs candidates on fresh replications, at the planned rate or another."""

    def __init__(self, evaluator: Evaluator, requests: int, replications: int) -> None:
        if replications < 2:
            raise ValueError(f"an interval needs 2 replications or more, not {replications}")
        self.requests = requests
        self.replications = replications
        self._evaluator = evaluator

    def at(self, candidate: Candidate, rates_hz: Sequence[float]) -> list[Reached]:
        """What a candidate reaches at each of these rates."""
        tasks = [
            Task(candidate, self.requests, FRESH_FROM + number, rate_hz)
            for rate_hz in rates_hz
            for number in range(self.replications)
        ]
        found = self._evaluator.latencies_ms(tasks)
        n = self.replications
        return [
            Reached(rate_hz, tuple(found[at * n : (at + 1) * n]))
            for at, rate_hz in enumerate(rates_hz)
        ]

    def planned(self, candidate: Candidate) -> Reached:
        """What a candidate reaches at the rate that is planned for."""
        return self.at(candidate, [self._evaluator.planned.rate_hz])[0]
