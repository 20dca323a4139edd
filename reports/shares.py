"""Where the latency of all requests went, and that of the slowest, stage by stage and reason by reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import Int64, Outcome, RunLog
from reports.paths import ANSWER, Join, Paths, joins, paths
from reports.percentiles import percentile
from reports.reasons import REASONS, VisitReasons, visit_reasons
from reports.totals import counted_requests

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Attribution:
    """The latency of every completed request along its critical path, taken apart."""

    log: RunLog
    paths: Paths
    visits: tuple[VisitReasons, ...]
    """By stage."""
    late_ns: Int64
    """By request: from its arrival to its first queue; meant for completed ones."""

    @property
    def latency_ns(self) -> Int64:
        """By request; meant for completed ones."""
        took_ns: Int64 = self.log.requests.ended_ns - self.log.requests.arrival_ns
        return took_ns

    def part_ns(self, index: int, reason: str) -> Int64:
        """By request: its time at stage number ``index`` for this reason, 0 off its critical path."""
        visits = self.visits[index]
        found = np.zeros(len(self.log.requests), np.int64)
        found[visits.request] = visits.parts[reason]
        found[~self.paths.critical[index]] = 0
        return found

    def on_path(self, join: Join) -> Mask:
        """By request: whether its critical path goes through a join."""
        if join.name == ANSWER:
            return np.ones(len(self.log.requests), np.bool_)
        found: Mask = self.paths.critical[join.index]
        return found


def attribute(log: RunLog) -> Attribution:
    """Take the latency of a run's completed requests apart; the parts sum to it, to the nanosecond."""
    late_ns = np.zeros(len(log.requests), np.int64)
    visits = tuple(visit_reasons(log, index) for index in range(len(log.stages)))
    for stage, each in zip(log.stages, visits, strict=True):
        if not stage.parents:
            late_ns[each.request] = each.enqueued_ns - log.requests.arrival_ns[each.request]
    return Attribution(log, paths(log), visits, late_ns)


@dataclass(frozen=True, slots=True)
class StageShares:
    """One stage, as a mean over requests, nanoseconds."""

    name: str
    parts: Mapping[str, float]
    """By reason, along the critical paths: what the stage adds to the mean latency."""

    @property
    def total_ns(self) -> float:
        """All reasons together."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class JoinShares:
    """A join: how long its first branch waited for the last, and which came last."""

    name: str
    """The stage, empty for the answer."""
    merge_ns: float
    last: Mapping[str, float]
    """By the last stage of a branch, the share of requests for which it came last."""


@dataclass(frozen=True, slots=True)
class Shares:
    """A set of requests: mean latency, and what it consists of."""

    requests: int
    latency_ns: float
    late_ns: float
    merge_ns: float
    """At joins that waited for a branch which they then went on without; zero without a merge rule."""
    stages: tuple[StageShares, ...]
    joins: tuple[JoinShares, ...]


def groups(found: Attribution, warmup_ns: int = 0) -> tuple[Mask, Mask]:
    """All completed requests after the cut, and the slowest 1% of them (at least one)."""
    counted = counted_requests(found.log, warmup_ns)
    slow = counted.copy()
    if counted.any():
        slow &= found.latency_ns >= percentile(found.latency_ns[counted], 99)
    return counted, slow


def shares(found: Attribution, group: Mask) -> Shares:
    """The means over a group of completed requests, which must not be empty."""
    return Shares(
        requests=int(group.sum()),
        latency_ns=_mean(found.latency_ns[group]),
        late_ns=_mean(found.late_ns[group]),
        merge_ns=sum(
            _mean((found.paths.merge_ns(join) * found.on_path(join))[group])
            for join in joins(found.log)
        ),
        stages=tuple(
            StageShares(
                stage.name,
                {reason: _mean(found.part_ns(index, reason)[group]) for reason in REASONS},
            )
            for index, stage in enumerate(found.log.stages)
        ),
        joins=tuple(_joins(found, group)),
    )


def _joins(found: Attribution, group: Mask) -> Sequence[JoinShares]:
    told = []
    for join in joins(found.log):
        done = found.paths.in_time(join)[:, group]
        went_ns = found.paths.entered_ns[join.index, group]
        there = went_ns >= 0
        last = np.argmax(done, axis=0)
        first_ns = np.where(done >= 0, done, went_ns).min(axis=0)
        told.append(
            JoinShares(
                join.name,
                _mean(np.where(there, went_ns - first_ns, 0)),
                {
                    found.log.stages[parent].name: float((last[there] == place).mean())
                    for place, parent in enumerate(join.parents)
                }
                if there.any()
                else {},
            )
        )
    return told


def slowest(found: Attribution, count: int, stage: int | None = None, warmup_ns: int = 0) -> Int64:
    """Ids of the completed requests after the cut that took longest, or were at one stage for longest."""
    counted = np.flatnonzero(counted_requests(found.log, warmup_ns))
    took_ns = found.latency_ns
    if stage is not None:
        visits = found.visits[stage]
        took_ns = np.zeros(len(took_ns), np.int64)
        took_ns[visits.request] = visits.over_ns - visits.enqueued_ns
    order = np.argsort(-took_ns[counted], kind="stable")[:count]
    return counted[order]


def dropped(log: RunLog) -> Mapping[Outcome, int]:
    """How many requests ended without an answer, by how."""
    counts = np.bincount(log.requests.outcome, minlength=len(Outcome))
    return {kind: int(counts[kind]) for kind in Outcome if kind != Outcome.COMPLETED}


def _mean(values: Int64) -> float:
    return float(values.mean())
