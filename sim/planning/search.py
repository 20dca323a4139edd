"""The cheapest allocations that meet the objective.

Bounds first: what throughput needs of each pool, then what the objective needs of it if nothing waits
anywhere else. From there a feasible allocation is climbed to and cut back. Then allocations are tried in
the order of their cost, all of those that are cheaper, so that the first that meets the objective is the
cheapest; more replicas are taken never to be slower, so that what lies within an allocation that failed
need not be tried.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sim.planning.bounds import generous, generous_count, least_count, work
from sim.planning.evaluate import Evaluator, Ladder
from sim.planning.holds import Holds
from sim.planning.infeasible import check_throughput, too_slow
from sim.planning.options import SAME_COST, Ranges, by_cost, choices, with_choice, within
from sim.planning.problem import Allocation, Candidate, Choice

_MOST_OF_A_COST = 8
"""Allocations of one cost that are compared for the lowest latency."""
_CLIMB = 200
"""Steps of the climb to a first feasible allocation."""


@dataclass(frozen=True, slots=True)
class Trial:
    """An allocation with the holds that were found for it."""

    candidate: Candidate
    cost: float
    latency_ms: float
    met: bool


class Search:
    """Tries allocations, each once. ``budget`` bounds how many before proof is given up."""

    def __init__(self, evaluator: Evaluator, requests: int, budget: int = 400) -> None:
        self.tried: dict[Allocation, Trial] = {}
        self.proven = True
        """Whether every cheaper allocation than the first that was yielded has been ruled out."""
        self.least_cost = 0.0
        """What no plan can cost less than."""
        self._evaluator = evaluator
        self._planned = evaluator.planned
        self._ladder = Ladder.of(requests)
        self._holds = Holds(evaluator, self._ladder.rungs[0].requests)
        self._budget = budget
        self._last = sys.maxsize

    def feasible(self) -> Iterator[Trial]:
        """Those that meet the objective, by cost and then latency, for as long as they are asked for.

        Raises InfeasibleError where there is none.
        """
        self._evaluator.doing = "bounds"
        ample = self._ample()
        ranges = self._ranges(ample)
        pools = self._planned.pools
        options = [choices(pool, each) for pool, each in zip(pools, ranges, strict=True)]
        self._evaluator.doing = "search"
        start = tuple(each[0] for each in options)
        incumbent = self._cut_back(self._climb(start, ranges, ample))
        yield from self._in_order(options, incumbent)

    def attempt(self, allocation: Allocation) -> Trial:
        """Find holds for an allocation and see whether it meets the objective with them."""
        if allocation not in self.tried:
            settings, latency_ms = self._holds.enough(allocation)
            candidate = Candidate(allocation, settings)
            goal_ms = self._planned.objective_ms
            if latency_ms < self._ladder.rungs[0].margin * goal_ms:
                latency_ms = self._ladder.climb(self._evaluator, candidate)
            cost = self._planned.cost(allocation)
            self.tried[allocation] = Trial(candidate, cost, latency_ms, latency_ms <= goal_ms)
        return self.tried[allocation]

    def best_holds(self, trial: Trial) -> Candidate:
        """The trial with the holds of the lowest latency."""
        requests = self._ladder.rungs[-1].requests // 4
        return Candidate(trial.candidate.allocation, self._holds.best(trial.candidate, requests))

    def stop_after(self, attempts: int) -> None:
        """Try so many more allocations at most."""
        self._last = len(self.tried) + attempts

    def _ample(self) -> Allocation:
        """So much of everything that nothing waits. Raises InfeasibleError where that is not enough."""
        ample = generous(self._planned)
        check_throughput(self._planned)
        trial = self.attempt(ample)
        if not trial.met:
            raise too_slow(self._planned, ample, trial.latency_ms)
        return ample

    def _ranges(self, ample: Allocation) -> list[Ranges]:
        """What each pool may be given: from the least that can do with ample of everything else."""
        found = []
        for place, pool in enumerate(self._planned.pools):
            ranges: Ranges = {}
            for device in pool.prices:
                bound = least_count(self._planned, pool, device)
                most = min(generous_count(bound), pool.most)
                least = self._least(ample, place, device, bound, most)
                if least is not None:
                    ranges[device] = range(least, most + 1)
            found.append(ranges)
        return found

    def _least(self, ample: Allocation, place: int, device: str, low: int, high: int) -> int | None:
        """The fewest of a device with which the objective is met, all else being ample: by doubling,
        then bisection.
        """

        def enough(count: int) -> bool:
            return self.attempt(with_choice(ample, place, Choice(device, count))).met

        step, below = 1, low - 1
        at = low
        while not enough(at):
            if at >= high:
                return None
            below, at = at, min(at + step, high)
            step *= 2
        while at - below > 1:
            middle = (below + at) // 2
            below, at = (below, middle) if enough(middle) else (middle, at)
        return at

    def _climb(self, start: Allocation, ranges: Sequence[Ranges], ample: Allocation) -> Trial:
        """From the cheapest choices up, each step where it gains most latency for its cost."""
        allocation = start
        for _ in range(_CLIMB):
            trial = self.attempt(allocation)
            steps = list(_steps(allocation, ranges))
            if trial.met or not steps:
                break
            allocation = min(steps, key=lambda step: self._price_of_gain(trial, step))
        return trial if trial.met else self.attempt(ample)

    def _price_of_gain(self, trial: Trial, step: Allocation) -> tuple[float, float]:
        """What a millisecond less costs by this step, and the latency after it."""
        candidate = Candidate(step, trial.candidate.settings)
        after_ms = self._evaluator.mean_ms(candidate, self._ladder.rungs[0].requests, 1)
        gain_ms = trial.latency_ms - after_ms
        if not gain_ms > 0 or math.isinf(after_ms):
            return math.inf, after_ms
        if math.isinf(gain_ms):
            return 0.0, after_ms
        return (self._planned.cost(step) - trial.cost) / gain_ms, after_ms

    def _cut_back(self, trial: Trial) -> Trial:
        """Fewer of any pool, the dearest first, for as long as the objective is met."""
        while True:
            allocation = trial.candidate.allocation
            steps = sorted(
                (
                    with_choice(allocation, place, Choice(choice.device, choice.count - 1))
                    for place, choice in enumerate(allocation)
                    if choice.count > 1
                ),
                key=self._planned.cost,
            )
            found = (self.attempt(step) for step in steps if not self._ruled_out(step))
            better = next((each for each in found if each.met), None)
            if better is None:
                return trial
            trial = better

    def _ruled_out(self, allocation: Allocation) -> bool:
        """Whether an allocation with as much of everything has failed."""
        return any(
            not trial.met and within(allocation, failed) for failed, trial in self.tried.items()
        )

    def _in_order(self, options: Sequence[Sequence[Choice]], incumbent: Trial) -> Iterator[Trial]:
        load = [
            {device: work(self._planned, pool, device) for device in pool.prices}
            for pool in self._planned.pools
        ]
        found = False
        for cost, group in by_cost(self._planned, options, load):
            if not found:
                self.least_cost = cost
            if not found and cost >= incumbent.cost - SAME_COST:
                group = list(dict.fromkeys([incumbent.candidate.allocation, *group]))
                found = True
            met = list(self._met(group, thorough=not found))
            found = found or bool(met)
            yield from sorted(met, key=lambda each: each.latency_ms)
            if not self.proven or len(self.tried) >= self._last:
                break
        if not self.proven:
            yield incumbent
            yield from self._upward(incumbent)

    def _met(self, group: Sequence[Allocation], *, thorough: bool) -> Iterator[Trial]:
        """Those of one cost that meet the objective: of all, or of the first few where ``thorough`` is
        not asked for or one is found. Ends proof where the budget does.
        """
        tries = 0
        for allocation in group:
            if self._ruled_out(allocation):
                continue
            if len(self.tried) >= self._last or (not thorough and tries >= _MOST_OF_A_COST):
                return
            if thorough and len(self.tried) >= self._budget:
                self.proven = False
                return
            trial = self.attempt(allocation)
            tries += 1
            if trial.met:
                thorough = False
                yield trial

    def _upward(self, trial: Trial) -> Iterator[Trial]:
        """One more of each pool, for as long as they are asked for."""
        while len(self.tried) < self._last:
            allocation = trial.candidate.allocation
            steps = [
                self.attempt(
                    with_choice(allocation, place, replace(choice, count=choice.count + 1))
                )
                for place, choice in enumerate(allocation)
                if choice.count < self._planned.pools[place].most
            ]
            met = sorted((s for s in steps if s.met), key=lambda each: (each.cost, each.latency_ms))
            if not met:
                return
            yield from met
            trial = min(met, key=lambda each: each.latency_ms)


def _steps(allocation: Allocation, ranges: Sequence[Ranges]) -> Iterator[Allocation]:
    """An eighth more of one pool's device (one at least), or another device in its place."""
    for place, choice in enumerate(allocation):
        for device, counts in ranges[place].items():
            count = counts[0]
            if device == choice.device:
                count = choice.count + max(1, choice.count // 8)
            if count in counts:
                yield with_choice(allocation, place, Choice(device, count))
