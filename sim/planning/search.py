"""The cheapest allocations that meet the objective.

Bounds first: what throughput needs of each pool, then what the objective needs of it if nothing waits
anywhere else. From there a feasible allocation is climbed to and cut back. Then allocations are tried in
the order of their cost, all of those that are cheaper, so that the first that meets the objective is the
cheapest; more replicas are taken never to be slower, so that what lies within an allocation that failed
need not be tried. Where there are too many, proof is given up: the allocation that was climbed to is
improved by exchanges, and what no plan can cost less than is told.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sim.planning.attempts import Attempts, Trial
from sim.planning.bounds import generous, generous_count, least_count
from sim.planning.climbing import climb, cut_back, exchange
from sim.planning.evaluate import Evaluator
from sim.planning.infeasible import check_throughput, too_slow
from sim.planning.options import SAME_COST, Ranges, by_cost, choices, with_choice
from sim.planning.problem import Allocation, Candidate, Choice

_MOST_OF_A_COST = 8
"""Allocations of one cost that are compared for the lowest latency."""
_SIMULATIONS = 2500
_LOOKED_AT = 20_000
"""Allocations that are looked at, most of them ruled out at a glance, before proof is given up."""


class Search:
    """Goes through allocations by cost. ``budget`` bounds the simulations before proof is given up."""

    def __init__(self, evaluator: Evaluator, requests: int, budget: int = _SIMULATIONS) -> None:
        self.proven = True
        """Whether every cheaper allocation than the first that was yielded has been ruled out."""
        self.least_cost = 0.0
        """What no plan can cost less than."""
        self._attempts = Attempts(evaluator, requests)
        self._evaluator = evaluator
        self._planned = evaluator.planned
        self._budget = budget
        self._looked_at = 0
        self._last = sys.maxsize

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every allocation that was tried."""
        return tuple(self._attempts.tried.values())

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
        incumbent = climb(self._attempts, tuple(each[0] for each in options), ranges)
        if not incumbent.met:
            incumbent = self._attempts.attempt(ample)
        yield from self._in_order(options, cut_back(self._attempts, incumbent))

    def best_holds(self, trial: Trial) -> Candidate:
        """The trial with the holds of the lowest latency."""
        return self._attempts.best_holds(trial)

    def stop_after(self, attempts: int) -> None:
        """Try so many more allocations at most."""
        self._last = len(self._attempts.tried) + attempts

    def _ample(self) -> Allocation:
        """So much of everything that nothing waits. Raises InfeasibleError where that is not enough."""
        check_throughput(self._planned)
        ample = generous(self._planned)
        trial = self._attempts.attempt(ample)
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
            return self._attempts.attempt(with_choice(ample, place, Choice(device, count))).met

        if low > high:
            return None
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

    def _in_order(self, options: Sequence[Sequence[Choice]], incumbent: Trial) -> Iterator[Trial]:
        found = False
        for cost, group in by_cost(self._planned, options, self._attempts.busiest):
            if not found:
                self.least_cost = cost
            if not found and cost >= incumbent.cost - SAME_COST:
                group = list(dict.fromkeys([incumbent.candidate.allocation, *group]))
                found = True
            met = list(self._met(group, thorough=not found))
            found = found or bool(met)
            yield from sorted(met, key=lambda each: each.latency_ms)
            if not self.proven or self._at_end:
                break
        if not self.proven:
            incumbent = exchange(self._attempts, incumbent)
            yield incumbent
            yield from self._upward(incumbent)

    @property
    def _at_end(self) -> bool:
        return len(self._attempts.tried) >= self._last

    def _met(self, group: Sequence[Allocation], *, thorough: bool) -> Iterator[Trial]:
        """Those of one cost that meet the objective: of all, or of the first few where ``thorough`` is
        not asked for or one is found. Ends proof where the budget does.
        """
        tries = 0
        for allocation in group:
            self._looked_at += 1
            if thorough and (
                self._attempts.simulations >= self._budget or self._looked_at >= _LOOKED_AT
            ):
                self.proven = False
                return
            if self._attempts.ruled_out(allocation):
                continue
            if self._at_end or (not thorough and tries >= _MOST_OF_A_COST):
                return
            trial = self._attempts.attempt(allocation)
            tries += 1
            if trial.met:
                thorough = False
                yield trial

    def _upward(self, trial: Trial) -> Iterator[Trial]:
        """One more of each pool, for as long as they are asked for."""
        while not self._at_end:
            allocation = trial.candidate.allocation
            steps = [
                self._attempts.attempt(
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
