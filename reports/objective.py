"""Whether runs meet their objective, requests without an answer included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policies.contract import NEVER_NS
from policies.runlog import Int64, Outcome, RunLog
from reports.confidence import Estimate, over_replications
from reports.percentiles import NS_PER_MS, percentile
from reports.run import Objective, Run


@dataclass(frozen=True, slots=True)
class Attainment:
    """The latency that an objective is about, over one or more replications."""

    objective: Objective
    reached_ms: Estimate
    """At the objective's percentile; infinite where so many requests had no answer."""

    @property
    def met(self) -> bool:
        """Whether the estimate lies within the objective."""
        return self.reached_ms.value <= self.objective.latency_ns / NS_PER_MS

    @property
    def sure(self) -> bool:
        """Whether the whole confidence interval says the same; True without an interval."""
        low, high = self.reached_ms.low, self.reached_ms.high
        limit_ms = self.objective.latency_ns / NS_PER_MS
        return low is None or high is None or not low <= limit_ms < high


def reached_ms(run: Run) -> float:
    """Latency at the objective's percentile, over all requests after the warm-up cut.

    One without an answer (shed, expired, failed) is later than any other, so that a setting cannot
    look good by dropping what is late: infinite where they reach the percentile, or where no request
    counts. Raises ValueError for a run without an objective.
    """
    if run.objective is None:
        raise ValueError(
            f"{run.name} has no objective; give it one: `objective: {{latency: 50ms}}`"
        )
    found_ns = waits_ns(run.log, run.warmup_ns)
    if not len(found_ns):
        return math.inf
    found = percentile(found_ns, run.objective.percentile)
    return math.inf if found == NEVER_NS else found / NS_PER_MS


def attainment(objective: Objective, reached: Sequence[float]) -> Attainment:
    """How the objective stands over replications, by the :func:`reached_ms` of each."""
    if not all(map(math.isfinite, reached)):
        return Attainment(objective, Estimate(math.inf, None, None))
    return Attainment(objective, over_replications(reached))


def waits_ns(log: RunLog, warmup_ns: int) -> Int64:
    """Latencies of the requests that arrived at or after the cut and have ended, ``NEVER_NS`` for those
    without an answer.
    """
    requests = log.requests
    took_ns: Int64 = requests.ended_ns - requests.arrival_ns
    completed = requests.outcome == Outcome.COMPLETED
    counted = requests.arrival_ns >= warmup_ns
    if not completed.all():
        took_ns[~completed] = NEVER_NS
        counted &= requests.outcome != Outcome.PENDING
    return took_ns if counted.all() else took_ns[counted]
