"""Which stages decided a request's latency: its way back from the answer by what came last.

Every way of a completed request through the graph takes as long as its latency, once the time is counted
that a branch which is done waits at the join for the others (the merge wait, one for each edge). On the
critical path each stage was the last parent of the next, and there is no such wait but where a join waits
for a time or a branch that it then goes on without. Branches that a join goes on without are no ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import Int64, Outcome, RunLog
from reports.waits import finished_by_request

ANSWER = ""
"""The end of an edge that leaves the last stage of a branch: the answer waits for all of them."""


@dataclass(frozen=True, slots=True)
class Join:
    """Where branches meet: a stage, or the answer."""

    name: str
    """The stage's, or :data:`ANSWER`."""
    index: int
    """Its place among the stages; the answer is behind the last."""
    parents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Paths:
    """Of completed requests, by request id; what others have here means nothing."""

    finished_ns: Int64
    """(stages, n): when the request's batch at the stage was over, -1 where it was not served there."""
    entered_ns: Int64
    """(stages + 1, n): when it entered the stage's queue, -1 where it did not; the last is the answer."""
    critical: NDArray[np.bool_]
    """(stages, n): whether the stage lies on the request's critical path."""

    def in_time(self, join: Join) -> Int64:
        """(parents, n): when each parent was done, -1 where the join went on without it."""
        done = self.finished_ns[list(join.parents)]
        found: Int64 = np.where(done <= self.entered_ns[join.index], done, -1)
        return found

    def merge_ns(self, join: Join) -> Int64:
        """(n,): how long the last parent that was in time waited; zero without a merge rule."""
        waited: Int64 = self.entered_ns[join.index] - self.in_time(join).max(axis=0)
        return waited


def paths(log: RunLog) -> Paths:
    """The critical path of every completed request; of branches that end together the first counts."""
    finished = np.array([finished_by_request(log, stage) for stage in log.stages], np.int64)
    entered = np.full((len(log.stages) + 1, len(log.requests)), -1, np.int64)
    for index, stage in enumerate(log.stages):
        visits = stage.visits.made()
        entered[index, visits.request] = visits.enqueued_ns
    entered[-1] = log.requests.ended_ns
    critical = np.zeros(finished.shape, np.bool_)
    found = Paths(finished, entered, critical)
    reached = log.requests.outcome == Outcome.COMPLETED
    for join in reversed(list(meetings(log))):
        here = reached if join.name == ANSWER else critical[join.index]
        last = np.asarray(join.parents)[np.argmax(found.in_time(join), axis=0)]
        for parent in join.parents:
            critical[parent] |= here & (last == parent)
    return found


def meetings(log: RunLog) -> Iterator[Join]:
    """Every stage that has parents, in order, and the answer."""
    places = {stage.name: index for index, stage in enumerate(log.stages)}
    for index, stage in enumerate(log.stages):
        if stage.parents:
            yield Join(stage.name, index, tuple(sorted(places[name] for name in stage.parents)))
    yield Join(ANSWER, len(log.stages), tuple(sinks(log)))


def joins(log: RunLog) -> list[Join]:
    """Those of them where several branches meet."""
    return [join for join in meetings(log) if len(join.parents) > 1]


def missing(log: RunLog) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Who went on without which branch: by joined stage and by branch, which goes by the name of its last
    stage, (n,) by request id. True of completed requests only, and of those that came by the join.
    """
    found = paths(log)
    completed = log.requests.outcome == Outcome.COMPLETED
    gone: dict[str, dict[str, NDArray[np.bool_]]] = {}
    for join in joins(log):
        if join.name and log.stages[join.index].partial:
            came = completed & (found.entered_ns[join.index] >= 0)
            gone[join.name] = {
                log.stages[parent].name: came & (in_time < 0)
                for parent, in_time in zip(join.parents, found.in_time(join), strict=True)
            }
    return gone


def missing_by_stage(log: RunLog, warmup_ns: int = 0) -> dict[str, float | None]:
    """By each last stage of a branch that some join may go on without, the share of the completed requests
    that did so, of those that arrived at or after the cut; None where there are none.
    """
    if not any(stage.partial for stage in log.stages):
        return {}
    counted = (log.requests.outcome == Outcome.COMPLETED) & (log.requests.arrival_ns >= warmup_ns)
    gone: dict[str, NDArray[np.bool_]] = {}
    for branches in missing(log).values():
        for name, mask in branches.items():
            gone[name] = gone.get(name, False) | mask
    return {
        name: float(mask[counted].mean()) if counted.any() else None for name, mask in gone.items()
    }


def missing_share(log: RunLog) -> float:
    """Of the results that joins wait for, the share that they went on without; of completed requests."""
    partial = [join for join in joins(log) if join.name and log.stages[join.index].partial]
    completed = log.requests.outcome == Outcome.COMPLETED
    if not partial or not completed.any():
        return 0.0
    found = paths(log)
    gone = sum(int((found.in_time(join)[:, completed] < 0).sum()) for join in partial)
    asked = sum(len(join.parents) for join in joins(log) if join.name)
    return gone / (asked * int(completed.sum()))


def sinks(log: RunLog) -> list[int]:
    """The stages that nothing follows."""
    parents = {name for stage in log.stages for name in stage.parents}
    return [index for index, stage in enumerate(log.stages) if stage.name not in parents]
