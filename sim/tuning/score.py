"""What makes one setting better than another: the objective, then the cost; or each goal by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from configs.model import Config
from policies.runlog import RunLog

MOST_LOST = 0.02
"""Share of NDCG@10 that a setting may lose to be chosen, where quality is a goal."""
_NO_ANSWER = 1e9
"""Value of a setting that leaves too many requests without an answer: above any late one."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What tuning looks at in a run."""

    latency_ms: float
    """At the objective's percentile; infinite where too many requests have no answer."""
    unanswered: float
    """Share of the requests that were shed, expired or failed."""
    cost: float
    """What the setting costs; see ``sim.tuning.costs``."""
    lost: float = 0.0
    """Share of the NDCG@10 that is lost against the start in full service, below 0 where some is gained; 0
    where quality is no goal."""

    @staticmethod
    def mean(each: Sequence[Figures]) -> Figures:
        """Means over replications."""
        return Figures(
            fmean(one.latency_ms for one in each),
            fmean(one.unanswered for one in each),
            fmean(one.cost for one in each),
            fmean(one.lost for one in each),
        )


Judge = Callable[[Config, RunLog], Figures]
"""Takes the figures of a run. Must be picklable: it is called in worker processes."""


def _latency(figures: Figures) -> float:
    """Finite, as samplers want it."""
    if math.isinf(figures.latency_ms):
        return _NO_ANSWER + figures.unanswered
    return figures.latency_ms


def _cost(figures: Figures) -> float:
    return figures.cost


def _lost(figures: Figures) -> float:
    return figures.lost


GOALS: dict[str, Callable[[Figures], float]] = {
    "latency": _latency,
    "cost": _cost,
    "quality": _lost,
}
"""What can be made small for its own sake, by name. A further goal is a line here."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What figures are measured against: the objective, and what the setting at the start costs."""

    objective_ms: float
    start_cost: float
    goals: tuple[str, ...] = ()
    """Goals that are each made small for their own sake; none: the objective first, then the cost."""

    @property
    def values_count(self) -> int:
        """How many numbers a sampler is told of a setting."""
        return max(len(self.goals), 1)

    def met(self, figures: Figures) -> bool:
        """Whether the objective is met, and, where quality is a goal, no more than MOST_LOST is lost."""
        return figures.latency_ms <= self.objective_ms and not self._loses(figures)

    def _loses(self, figures: Figures) -> bool:
        """Whether too much quality is lost."""
        return "quality" in self.goals and figures.lost > MOST_LOST

    @property
    def cost_counts(self) -> bool:
        """Whether the cost decides between settings that meet the objective."""
        return not self.goals or "cost" in self.goals

    def order(self, figures: Figures) -> tuple[bool, float, float]:
        """Sorts settings, best first: those that meet the objective by cost, then latency; the others
        behind them by their value, then cost. Where cost is no goal, by latency, then cost; those that lose
        too much quality come last.
        """
        if not self.cost_counts:
            return self._loses(figures), _latency(figures), figures.cost
        if self.met(figures):
            return False, figures.cost, figures.latency_ms
        return True, self.value(figures), figures.cost

    def values(self, figures: Figures) -> tuple[float, ...]:
        """What a sampler is to make small: a number for each goal, or :meth:`value`."""
        if not self.goals:
            return (self.value(figures),)
        return tuple(GOALS[goal](figures) for goal in self.goals)

    def value(self, figures: Figures) -> float:
        """One number to minimise, the objective first and then the cost.

        With L the latency, G the objective, C the cost and C0 that of the start:

            L > G: L / G, above 1, or 1e9 + unanswered share where L is infinite
            else, where too much quality is lost: 1 + the share that is lost
            else:  c / (1 + c), below 1, with c = C / C0 (1 where C0 is 0)
        """
        if math.isinf(figures.latency_ms):
            return _NO_ANSWER + figures.unanswered
        if figures.latency_ms > self.objective_ms:
            return figures.latency_ms / self.objective_ms
        if self._loses(figures):
            return 1 + figures.lost
        cost = figures.cost / self.start_cost if self.start_cost else 1.0
        return cost / (1 + cost)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether values to be made small are nowhere worse and somewhere better than others."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front(values: Sequence[Sequence[float]]) -> list[int]:
    """Positions of those that none of the others dominates (Pareto), each combination once."""
    once = {tuple(each): place for place, each in reversed(list(enumerate(values)))}
    return sorted(
        place for each, place in once.items() if not any(dominates(other, each) for other in once)
    )
