"""Which trial is really best: the best few again, on replications that the search has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sim.statistics import Interval, mean_interval, paired_interval
from sim.tuning.score import Figures, Judge, Scale
from sim.tuning.search import Trial, judged, ranked, scale_of

CHOOSING_FROM = 1000
"""First of the replications that finalists are chosen on; the search uses replication 0 alone."""
CONFIRMING_FROM = 100_000
"""First of those that the chosen one is compared with the start on: choosing has not seen them, so it
cannot have chosen what they happen to favour.
"""
_FINALISTS = 5
_MOST_FINALISTS = 20


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The chosen trial against the start, on fresh replications."""

    chosen: Trial
    replications: int
    start: Figures
    best: Figures
    latency_ms: Interval | None
    """Chosen less start, paired; None where a replication left too many requests without an answer."""
    busy_s_per_1000: Interval
    """Chosen less start, paired."""
    decided_by: str
    """``latency`` unless both meet the objective; then ``cost``, or ``latency`` where it is the same."""
    better: bool
    """Whether the interval of what decides lies below zero."""


def confirm(
    trials: Sequence[Trial],
    judge: Judge,
    *,
    replications: int = 8,
    jobs: int = 1,
    told: Callable[[int], object] = lambda runs: None,
) -> Confirmation:
    """Choose among the best trials and the start, and compare the chosen one with the start.

    A trial that won the search by luck on its one replication is found out here. To be chosen for its
    cost, a finalist has to meet the objective with the upper end of its 95% interval; where none of
    five does, five more are tried, up to 20. ``told`` hears of every run. Raises ValueError for fewer
    than 2 replications.
    """
    if replications < 2:
        raise ValueError(f"confirming needs 2 replications or more, not {replications}")
    again = _Again(judge, replications, jobs, told)
    (_, first), *_ = ranked(trials[:1])
    scale = scale_of(trials[0].config, first)
    chosen = _chosen(trials, scale, again)
    start = again.figures(trials[0], CONFIRMING_FROM)
    best = start if chosen is trials[0] else again.figures(chosen, CONFIRMING_FROM)
    return _compared(chosen, scale, start, best)


@dataclass(frozen=True, slots=True)
class _Again:
    judge: Judge
    replications: int
    jobs: int
    told: Callable[[int], object]

    def figures(self, trial: Trial, first: int) -> list[Figures]:
        tasks = [(trial.config, first + k) for k in range(self.replications)]
        found = judged(tasks, self.judge, self.jobs)
        self.told(len(tasks))
        return found


def _chosen(trials: Sequence[Trial], scale: Scale, again: _Again) -> Trial:
    found: list[tuple[Figures, Trial]] = []
    for block in _blocks(trials):
        found += [(_pessimistic(again.figures(trial, CHOOSING_FROM)), trial) for trial in block]
        if any(scale.met(figures) for figures, _ in found):
            break
    return min(found, key=lambda each: (*scale.order(each[0]), each[1].number))[1]


def _blocks(trials: Sequence[Trial]) -> Iterator[list[Trial]]:
    """The trials from the best on, five at a time; the start is in the first."""
    others = [trial for trial, _ in ranked(trials) if trial is not trials[0]]
    yield [trials[0], *others[:_FINALISTS]]
    for first in range(_FINALISTS, min(len(others), _MOST_FINALISTS), _FINALISTS):
        yield others[first : first + _FINALISTS]


def _pessimistic(each: Sequence[Figures]) -> Figures:
    """Mean figures, the latency at the upper end of its interval."""
    latencies = [one.latency_ms for one in each]
    sure = all(map(math.isfinite, latencies))
    return replace(
        Figures.mean(each), latency_ms=mean_interval(latencies).high if sure else math.inf
    )


def _compared(
    chosen: Trial, scale: Scale, start: Sequence[Figures], best: Sequence[Figures]
) -> Confirmation:
    latency = None
    if all(math.isfinite(one.latency_ms) for one in (*start, *best)):
        latency = paired_interval(
            [one.latency_ms for one in best], [one.latency_ms for one in start]
        )
    cost = paired_interval(
        [one.busy_s_per_1000 for one in best], [one.busy_s_per_1000 for one in start]
    )
    before, after = Figures.mean(start), Figures.mean(best)
    by_cost = scale.met(before) and scale.met(after) and (cost.low, cost.high) != (0, 0)
    if by_cost:
        better = cost.high < 0
    elif latency is not None:
        better = latency.high < 0 and (scale.met(after) or not scale.met(before))
    else:
        # Answers where there were none in every replication: no interval, and no doubt.
        better = all(math.isinf(one.latency_ms) for one in start) and all(
            math.isfinite(one.latency_ms) for one in best
        )
    return Confirmation(
        chosen=chosen,
        replications=len(start),
        start=before,
        best=after,
        latency_ms=latency,
        busy_s_per_1000=cost,
        decided_by="cost" if by_cost else "latency",
        better=better,
    )
