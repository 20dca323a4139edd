"""One request, told from the records: where it was, why it waited there, and in which company."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from policies.degrade import FULL
from policies.runlog import Outcome, RunLog, StageLog
from reports.paths import Join, Paths, joins, paths
from reports.reasons import REPLICA, SIZE, SLOT, TIME, StageTimes, stage_times, visit_reasons

AT_ONCE, AGAIN = "at once", "again"
"""Why a batch went, beside a reason for waiting that had ended: nothing held it up; or it was sent a second
time, after a loss or as the copy of a hedge.
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A request of a batch, and how long it had waited at the stage when that went."""

    request: int
    waited_ns: int


@dataclass(frozen=True, slots=True)
class BatchTold:
    """The batch in which a request travelled."""

    number: int
    replica: int
    attempt: int
    dispatched_ns: int
    items: int
    max_batch: int
    members: tuple[Member, ...]
    """All of it, in the order of the queue, the request itself included."""
    went: str
    """What ended the wait: a size that came, a time, a replica or slot that came free (each by the name
    of its reason), :data:`AT_ONCE` or :data:`AGAIN`.
    """

    @property
    def oldest(self) -> Member:
        """Who had waited longest; of several the first."""
        return max(self.members, key=lambda each: each.waited_ns)


@dataclass(frozen=True, slots=True)
class MergeWait:
    """How long a branch that was done waited until the join went on: for the last branch, itself excepted,
    or for one that it then went on without.
    """

    join: str
    """The stage where they meet, empty for the answer."""
    wait_ns: int
    slowest: str
    """The last stage of the branch that made it late."""


@dataclass(frozen=True, slots=True)
class VisitTold:
    """A request at one stage."""

    stage: str
    branch: str
    critical: bool
    """Whether it lies on the critical path, the parts and merge waits of which sum to the latency."""
    enqueued_ns: int
    over_ns: int
    parts: Mapping[str, int]
    """Nanoseconds by reason; they sum to over_ns - enqueued_ns."""
    merges: tuple[MergeWait, ...]
    """For each join that the stage leads to."""
    batch: BatchTold | None
    level: int = FULL
    """The degradation level of its batch, or that at which it went on without the stage."""
    skipped: bool = False
    """It went on without the stage, as the level says."""

    def merge_before(self, name: str) -> int:
        """How long it waited for a join to go on; zero where that is none."""
        return next((merge.wait_ns for merge in self.merges if merge.join == name), 0)

    @property
    def merge_ns(self) -> int:
        """The longest wait at a join after it."""
        return max((merge.wait_ns for merge in self.merges), default=0)


@dataclass(frozen=True, slots=True)
class Explained:
    """One request. ``ended_ns`` is None while it was pending when the run ended."""

    request: int
    outcome: Outcome
    reason: str
    """Why it was shed, expired or failed."""
    arrival_ns: int
    ended_ns: int | None
    late_ns: int
    """How long after its arrival it entered its first queue; not zero only where it was sent late."""
    visits: tuple[VisitTold, ...]
    """In the order of the stages, those alone whose queue it entered."""

    @property
    def latency_ns(self) -> int | None:
        """From arrival to answer, or to its other end."""
        return None if self.ended_ns is None else self.ended_ns - self.arrival_ns


def explain(log: RunLog, request: int, found: Paths | None = None) -> Explained:
    """The story of a request.

    For a completed one, every way through the graph sums to its latency: late_ns, the parts of the way's
    visits, and the merge waits between them. Raises ValueError where there is no such request.
    """
    count = len(log.requests)
    if not 0 <= request < count:
        known = f"they are 0 to {count - 1}" if count else "it has none"
        raise ValueError(f"the run has no request {request}; {known}")
    found = paths(log) if found is None else found
    ended_ns = int(log.requests.ended_ns[request])
    arrival_ns = int(log.requests.arrival_ns[request])
    visits = tuple(_visits(log, request, found))
    roots = [each for each in visits if not _stage(log, each.stage).parents]
    return Explained(
        request=request,
        outcome=Outcome(int(log.requests.outcome[request])),
        reason=log.requests.reasons.get(request, ""),
        arrival_ns=arrival_ns,
        ended_ns=None if ended_ns < 0 else ended_ns,
        late_ns=min((each.enqueued_ns - arrival_ns for each in roots), default=0),
        visits=visits,
    )


def _stage(log: RunLog, name: str) -> StageLog:
    return next(stage for stage in log.stages if stage.name == name)


def _visits(log: RunLog, request: int, found: Paths) -> Iterator[VisitTold]:
    completed = log.requests.outcome[request] == Outcome.COMPLETED
    meets = joins(log) if completed else []
    for index, stage in enumerate(log.stages):
        place = np.flatnonzero(stage.visits.made().request == request)
        if not len(place):
            continue
        at = int(place[0])
        times = stage_times(log, index)
        visits = visit_reasons(log, index, times)
        yield VisitTold(
            stage=stage.name,
            branch=stage.branch,
            critical=bool(completed and found.critical[index, request]),
            enqueued_ns=int(visits.enqueued_ns[at]),
            over_ns=int(visits.over_ns[at]),
            parts={reason: int(values[at]) for reason, values in visits.parts.items()},
            merges=tuple(
                merge
                for join in meets
                if index in join.parents
                and (merge := _merge(log, join, index, found, request)) is not None
            ),
            batch=_batch(stage, int(visits.row[at]), times),
            level=_level(stage, int(visits.row[at]), request),
            skipped=_skipped(stage, request),
        )


def _skipped(stage: StageLog, request: int) -> bool:
    return stage.skipped is not None and bool((stage.skipped.request == request).any())


def _level(stage: StageLog, row: int, request: int) -> int:
    if stage.skipped is not None and _skipped(stage, request):
        return stage.skipped.level
    return FULL if row < 0 or stage.batches.level is None else int(stage.batches.level[row])


def _merge(log: RunLog, join: Join, index: int, found: Paths, request: int) -> MergeWait | None:
    """How long one parent waited; None where the join went on without it."""
    done = found.in_time(join)[:, request]
    mine = int(done[join.parents.index(index)])
    if mine < 0:
        return None
    last = join.parents[int(np.argmax(done))]
    wait_ns = int(found.entered_ns[join.index, request]) - mine
    return MergeWait(join.name, wait_ns, log.stages[last].name)


def _batch(stage: StageLog, row: int, times: StageTimes) -> BatchTold | None:
    if row < 0:
        return None
    batches, visits = stage.batches, stage.visits.made()
    inside = visits.row == row
    dispatched_ns = int(batches.dispatched_ns[row])
    members = tuple(
        Member(int(request), dispatched_ns - int(enqueued_ns))
        for request, enqueued_ns in zip(
            visits.request[inside], visits.enqueued_ns[inside], strict=True
        )
    )
    attempt = int(batches.attempt[row])
    return BatchTold(
        number=int(batches.batch[row]),
        replica=int(batches.replica[row]),
        attempt=attempt,
        dispatched_ns=dispatched_ns,
        items=int(batches.items[row]),
        max_batch=stage.max_batch,
        members=members,
        went=AGAIN if attempt > 1 else _why(dispatched_ns, members, times),
    )


def _why(dispatched_ns: int, members: tuple[Member, ...], times: StageTimes) -> str:
    """What the stage was doing in the last nanosecond before a batch went."""
    if not any(member.waited_ns for member in members):
        return AT_ONCE
    edge = np.array([dispatched_ns - 1, dispatched_ns])
    for total, reason in ((times.sized, SIZE), (times.free, TIME), (times.idle, SLOT)):
        before, after = total.until(edge)
        if after > before:
            return reason
    return REPLICA
