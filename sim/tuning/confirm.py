"""Which trial is really best: the best few again, on replications that the search has not seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from sim.statistics import Interval, mean_interval, paired_interval
from sim.tuning.evaluate import Evaluator, Task
from sim.tuning.score import Figures, Scale, front
from sim.tuning.search import Trial, ranked

CHOOSING_FROM = 1000
"""First of the replications that finalists are chosen on; the search uses replication 0 alone."""
CONFIRMING_FROM = 100_000
"""First of those that the chosen one is compared with the start on: choosing has not seen them, so it
cannot have chosen what they happen to favour.
"""
_FINALISTS = 5
_MOST_FINALISTS = 20
_MOST_OF_A_FRONT = 15


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The chosen trial against the start, on fresh replications."""

    chosen: Trial
    replications: int
    start: Figures
    best: Figures
    latency_ms: Interval | None
    """Chosen less start, paired; None where a replication left too many requests without an answer."""
    cost: Interval
    """Chosen less start, paired."""
    decided_by: str
    """``latency`` unless both meet the objective; then ``cost``, or ``latency`` where it is the same."""
    better: bool
    """Whether the interval of what decides lies below zero."""
    front: tuple[Point, ...] = ()
    """Where there are several goals: the trials that none dominates, by latency."""


@dataclass(frozen=True, slots=True)
class Point:
    """A trial of the Pareto front, by its figures on fresh replications."""

    trial: Trial
    figures: Figures
    latency_ms: Interval
    cost: Interval
    lost: Interval


def confirm(
    trials: Sequence[Trial], scale: Scale, evaluator: Evaluator, *, replications: int = 8
) -> Confirmation:
    """Choose among the best trials and the start, and compare the chosen one with the start.

    A trial that won the search by luck on its one replication is found out here. To be chosen for its
    cost, a finalist has to meet the objective with the upper end of its 95% interval; where none of
    five does, five more are tried, up to 20. With several goals, the front of the search is run again
    too, 15 of it at most, and what is still not dominated is the front. Raises ValueError for fewer than
    2 replications.
    """
    if replications < 2:
        raise ValueError(f"confirming needs 2 replications or more, not {replications}")
    again = _Again(evaluator, replications)
    found = _front(trials, scale, again) if len(scale.goals) > 1 else ()
    chosen = _chosen(trials, scale, again)
    pair = [trials[0]] if chosen is trials[0] else [trials[0], chosen]
    start, *others = again.figures(pair, CONFIRMING_FROM)
    compared = _compared(chosen, scale, start, others[0] if others else start)
    return replace(compared, front=found)


@dataclass(slots=True)
class _Again:
    evaluator: Evaluator
    replications: int
    known: dict[tuple[int, int], list[Figures]] = field(default_factory=dict)

    def figures(self, trials: Sequence[Trial], first: int) -> list[list[Figures]]:
        """Each trial's figures, a replication each from ``first`` on."""
        new = [trial for trial in trials if (trial.number, first) not in self.known]
        # Replication by replication, so that those at work share one workload.
        tasks = [Task(trial.config, first + k) for k in range(self.replications) for trial in new]
        found = list(self.evaluator.figures(tasks))
        for place, trial in enumerate(new):
            self.known[trial.number, first] = found[place :: len(new)]
        return [self.known[trial.number, first] for trial in trials]


def _chosen(trials: Sequence[Trial], scale: Scale, again: _Again) -> Trial:
    found: list[tuple[Figures, Trial]] = []
    for block in _blocks(trials, scale):
        each = again.figures(block, CHOOSING_FROM)
        found += [(_pessimistic(one), trial) for one, trial in zip(each, block, strict=True)]
        if any(scale.met(figures) for figures, _ in found):
            break
    return min(found, key=lambda each: (*scale.order(each[0]), each[1].number))[1]


def _blocks(trials: Sequence[Trial], scale: Scale) -> Iterator[list[Trial]]:
    """The trials from the best on, five at a time; the start is in the first."""
    others = [trial for trial, _ in ranked(trials, scale) if trial is not trials[0]]
    yield [trials[0], *others[:_FINALISTS]]
    for first in range(_FINALISTS, min(len(others), _MOST_FINALISTS), _FINALISTS):
        yield others[first : first + _FINALISTS]


def _front(trials: Sequence[Trial], scale: Scale, again: _Again) -> tuple[Point, ...]:
    """What none dominates, on fresh replications, of what none did in the search."""
    known = sorted(ranked(trials, scale), key=lambda each: each[1].latency_ms)
    kept = [known[at][0] for at in front([scale.values(figures) for _, figures in known])]
    if len(kept) > _MOST_OF_A_FRONT:
        step = (len(kept) - 1) / (_MOST_OF_A_FRONT - 1)
        kept = [kept[round(step * at)] for at in range(_MOST_OF_A_FRONT)]
    points = []
    for trial, each in zip(kept, again.figures(kept, CHOOSING_FROM), strict=True):
        if all(math.isfinite(one.latency_ms) for one in each):
            latency_ms = mean_interval([one.latency_ms for one in each])
            cost = mean_interval([one.cost for one in each])
            lost = mean_interval([one.lost for one in each])
            points.append(Point(trial, Figures.mean(each), latency_ms, cost, lost))
    points.sort(key=lambda point: point.figures.latency_ms)
    return tuple(points[at] for at in front([scale.values(each.figures) for each in points]))


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
    cost = paired_interval([one.cost for one in best], [one.cost for one in start])
    before, after = Figures.mean(start), Figures.mean(best)
    both = scale.cost_counts and scale.met(before) and scale.met(after)
    by_cost = both and (cost.low, cost.high) != (0, 0)
    if by_cost:
        better = cost.high < 0
    elif latency is not None:
        kept = not scale.cost_counts or scale.met(after) or not scale.met(before)
        better = latency.high < 0 and kept
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
        cost=cost,
        decided_by="cost" if by_cost else "latency",
        better=better,
    )
