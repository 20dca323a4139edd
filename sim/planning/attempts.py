"""Allocations that were tried, each once, with the holds that were found for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.planning.bounds import work
from sim.planning.evaluate import Evaluator, Ladder, Task
from sim.planning.holds import Holds
from sim.planning.options import within
from sim.planning.problem import Allocation, Candidate, Settings


@dataclass(frozen=True, slots=True)
class Trial:
    """An allocation with the holds that were found for it."""

    candidate: Candidate
    cost: float
    latency_ms: float
    met: bool


class Attempts:
    """Tries allocations in simulations of up to ``requests`` requests, and remembers them."""

    def __init__(self, evaluator: Evaluator, requests: int) -> None:
        self.tried: dict[Allocation, Trial] = {}
        self.planned = evaluator.planned
        self.load = tuple(
            {device: work(self.planned, pool, device) for device in pool.prices}
            for pool in self.planned.pools
        )
        """Replicas that each pool keeps busy, by device."""
        self._evaluator = evaluator
        self._ladder = Ladder.of(requests)
        self._holds = Holds(evaluator, self._ladder.rungs[0].requests)

    @property
    def simulations(self) -> int:
        """How many were run so far."""
        return self._evaluator.simulations

    def attempt(self, allocation: Allocation) -> Trial:
        """Find holds for an allocation and see whether it meets the objective with them."""
        if allocation not in self.tried:
            settings, latency_ms = self._holds.enough(allocation)
            candidate = Candidate(allocation, settings)
            goal_ms = self.planned.objective_ms
            if latency_ms < self._ladder.rungs[0].margin * goal_ms:
                latency_ms = self._ladder.climb(self._evaluator, candidate)
            cost = self.planned.cost(allocation)
            self.tried[allocation] = Trial(candidate, cost, latency_ms, latency_ms <= goal_ms)
        return self.tried[allocation]

    def glance(self, allocations: Sequence[Allocation], settings: Settings) -> list[float]:
        """The latencies of allocations in milliseconds with holds as they are, by one short run each."""
        requests = self._ladder.rungs[0].requests
        tasks = [Task(Candidate(each, settings), requests, 0) for each in allocations]
        return self._evaluator.latencies_ms(tasks)

    def ruled_out(self, allocation: Allocation) -> bool:
        """Whether an allocation with as much of everything has failed."""
        return any(
            not trial.met and within(allocation, failed) for failed, trial in self.tried.items()
        )

    def busiest(self, allocation: Allocation) -> float:
        """The load of the busiest pool: 1 and more is overload."""
        pairs = zip(self.load, allocation, strict=True)
        return max(by_device[choice.device] / choice.count for by_device, choice in pairs)

    def best_holds(self, trial: Trial) -> Candidate:
        """The trial with the holds of the lowest latency."""
        requests = self._ladder.rungs[-1].requests // 4
        return Candidate(trial.candidate.allocation, self._holds.best(trial.candidate, requests))
