"""Where the time goes: the mean parts of requests' time at each stage, for all and for the slowest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import Int64, RunLog
from reports.percentiles import NS_PER_MS, percentile
from reports.totals import counted_requests
from reports.waits import merge_by_request, visit_times

PARTS = ("merge", "hold", "wait", "service")
"""In the order in which a request meets them, as far as they have one: at a join it first waits for
the other branches; then, in the queue, by choice or for want of a replica or slot; then it is served."""


@dataclass(frozen=True, slots=True)
class StageParts:
    """Mean milliseconds that requests spent at a stage, by :data:`PARTS`."""

    name: str
    merge: float
    hold: float
    wait: float
    service: float

    @property
    def total(self) -> float:
        """All parts together."""
        return self.merge + self.hold + self.wait + self.service

    def get(self, part: str) -> float:
        """One of the :data:`PARTS`."""
        value: float = getattr(self, part)
        return value


@dataclass(frozen=True, slots=True)
class Breakdown:
    """All stages, over one set of requests."""

    requests: int
    stages: tuple[StageParts, ...]

    @property
    def longest(self) -> float:
        """The most time spent at a stage, milliseconds."""
        return max((stage.total for stage in self.stages), default=0.0)


def breakdowns(log: RunLog, warmup_ns: int = 0) -> tuple[Breakdown, Breakdown]:
    """For all completed requests after the cut, and for the slowest 1% of them (at least one)."""
    counted = counted_requests(log, warmup_ns)
    slow = counted.copy()
    if counted.any():
        latency = log.requests.ended_ns - log.requests.arrival_ns
        slow &= latency >= percentile(latency[counted], 99)
    parts = [_stage_parts(log, index, (counted, slow)) for index in range(len(log.stages))]
    return (
        Breakdown(int(counted.sum()), tuple(each for each, _ in parts)),
        Breakdown(int(slow.sum()), tuple(each for _, each in parts)),
    )


def _stage_parts(
    log: RunLog, index: int, groups: tuple[NDArray[np.bool_], NDArray[np.bool_]]
) -> tuple[StageParts, StageParts]:
    times = visit_times(log, index)
    merge = merge_by_request(log, index)
    name = log.stages[index].name

    def of(group: NDArray[np.bool_]) -> StageParts:
        chosen = group[times.request]
        hold = _mean_ms(times.hold_ns[chosen])
        return StageParts(
            name=name,
            merge=0.0 if merge is None else _mean_ms(merge[group]),
            hold=hold,
            wait=_mean_ms(times.queue_ns[chosen]) - hold,
            service=_mean_ms(times.service_ns[chosen]),
        )

    return of(groups[0]), of(groups[1])


def _mean_ms(values_ns: Int64) -> float:
    return float(values_ns.mean()) / NS_PER_MS if len(values_ns) else 0.0
