"""What makes one setting better than another: the objective first, then the cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from configs.model import Config
from policies.runlog import RunLog

_NO_ANSWER = 1e9
"""Value of a setting that leaves too many requests without an answer: above any late one."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What tuning looks at in a run."""

    latency_ms: float
    """At the objective's percentile; infinite where too many requests have no answer."""
    unanswered: float
    """Share of the requests that were shed, expired or failed."""
    busy_s_per_1000: float
    """Replica time used for a thousand answers, in seconds: what a setting costs."""

    @staticmethod
    def mean(each: Sequence[Figures]) -> Figures:
        """Means over replications."""
        return Figures(
            fmean(one.latency_ms for one in each),
            fmean(one.unanswered for one in each),
            fmean(one.busy_s_per_1000 for one in each),
        )


Judge = Callable[[Config, RunLog], Figures]
"""Takes the figures of a run. Must be picklable: it is called in worker processes."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What figures are measured against: the objective, and what the setting at the start costs."""

    objective_ms: float
    start_busy_s: float

    def met(self, figures: Figures) -> bool:
        """Whether the objective is met."""
        return figures.latency_ms <= self.objective_ms

    def order(self, figures: Figures) -> tuple[bool, float, float]:
        """Sorts settings, best first: those that meet the objective by cost, then latency; the others
        behind them by their value, then cost.
        """
        if self.met(figures):
            return False, figures.busy_s_per_1000, figures.latency_ms
        return True, self.value(figures), figures.busy_s_per_1000

    def value(self, figures: Figures) -> float:
        """One number to minimise, the objective first and then the cost.

        With L the latency, G the objective, C the cost and C0 that of the start:

            L > G: L / G, above 1, or 1e9 + unanswered share where L is infinite
            else:  c / (1 + c), below 1, with c = C / C0 (1 where C0 is 0)
        """
        if math.isinf(figures.latency_ms):
            return _NO_ANSWER + figures.unanswered
        if not self.met(figures):
            return figures.latency_ms / self.objective_ms
        cost = figures.busy_s_per_1000 / self.start_busy_s if self.start_busy_s else 1.0
        return cost / (1 + cost)
