"""Why requests waited at a stage: every nanosecond of a visit under one heading, from the records alone.

While a stage is free (see ``reports.freetime``) its policy holds by choice. Such a hold ends with a batch.
Where a request entered the stage's queue at the very instant at which the batch went, its size had come
(``size``); otherwise its time had (``time``), and so it counts where a hold was cut short, because another
stage took the slot. Time in which the stage is not free is waiting for a ``replica``, or, where one is idle,
for a ``slot`` of its device. Time in a batch that was lost with its replica is ``lost``; the rest is
``service``; so is waiting for a batch under way that computes an identical request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import BatchLog, Int64, RunLog, StageLog, VisitLog
from reports.freetime import FreeTime, free_time, idle_time, running_total
from reports.waits import served

SIZE, TIME, REPLICA, SLOT, LOST, SERVICE = "size", "time", "replica", "slot", "lost", "service"
REASONS = (SIZE, TIME, REPLICA, SLOT, LOST, SERVICE)
"""In the order in which tables have them."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """When a stage held for its size, was free, and had an idle replica, as running totals."""

    sized: FreeTime
    free: FreeTime
    idle: FreeTime


@dataclass(frozen=True, slots=True)
class VisitReasons:
    """The visits of a stage in the order of its log, all columns (n,).

    A visit lasts from ``enqueued_ns`` to ``over_ns``: the end of the batch that served it, or when the
    request ended otherwise; one that is pending lasts to the end of the run. ``parts`` has a column for
    each of :data:`REASONS`; they sum to the visit's length.
    """

    request: Int64
    row: Int64
    """Of its last batch in the stage's log, -1 where it was in none."""
    enqueued_ns: Int64
    over_ns: Int64
    parts: Mapping[str, Int64]


def stage_times(log: RunLog, index: int) -> StageTimes:
    """The running totals of stage number ``index``."""
    free = free_time(log, index)
    stage = log.stages[index]
    visits, batches = stage.visits.made(), stage.batches
    sent = batches.dispatched_ns
    if batches.computed is not None:
        sent = sent[batches.computed > 0]
    if stage.skipped is not None:
        sent = np.concatenate([sent, stage.skipped.at_ns])
    sized = _held_for_size(sent, visits.enqueued_ns[~_rides(batches, visits)], free)
    return StageTimes(sized, free, idle_time(log, index))


def visit_reasons(log: RunLog, index: int, times: StageTimes | None = None) -> VisitReasons:
    """The parts of every visit to stage number ``index``, dropped and pending requests' too."""
    times = stage_times(log, index) if times is None else times
    stage = log.stages[index]
    visits = stage.visits.made()
    left_ns, over_ns = _ends(log, stage, visits)
    before = _Attempts.of(stage.batches, visits)

    def within(total: FreeTime) -> Int64:
        spent = total.until(left_ns) - total.until(visits.enqueued_ns)
        return spent - before.of_visits(before.within(total))

    sized, free, idle = within(times.sized), within(times.free), within(times.idle)
    lost, hedged = before.of_visits(before.lost_ns), before.of_visits(before.hedged_ns)
    parts = {
        SIZE: sized,
        TIME: free - sized,
        REPLICA: left_ns - visits.enqueued_ns - lost - hedged - idle,
        SLOT: idle - free,
        LOST: lost,
        SERVICE: over_ns - left_ns + hedged,
    }
    rides = _rides(stage.batches, visits)
    if rides.any():
        whole = over_ns - visits.enqueued_ns
        parts = {
            reason: np.where(rides, whole if reason == SERVICE else 0, values)
            for reason, values in parts.items()
        }
    return VisitReasons(
        request=visits.request,
        row=visits.row,
        enqueued_ns=visits.enqueued_ns,
        over_ns=over_ns,
        parts=parts,
    )


def _held_for_size(dispatched_ns: Int64, enqueued_ns: Int64, free: FreeTime) -> FreeTime:
    """The free time of a stage that ended with a batch at an instant at which a request came in."""
    cuts = np.union1d(free.times_ns, dispatched_ns)
    was_free = free.free[np.searchsorted(free.times_ns, cuts, side="right") - 1]
    filled = np.isin(cuts, np.intersect1d(dispatched_ns, enqueued_ns))
    sized = np.zeros(len(cuts), np.bool_)
    sized[:-1] = was_free[:-1] & filled[1:]
    return running_total(cuts, sized)


def _ends(log: RunLog, stage: StageLog, visits: VisitLog) -> tuple[Int64, Int64]:
    """When each visit left the queue for good, and when it was over."""
    ended_ns = log.requests.ended_ns[visits.request]
    left_ns = np.where(ended_ns < 0, log.end_ns, ended_ns)
    # A join that goes on without this branch takes the request out of its queue.
    for after in _after(log, stage):
        reached = after.visits.made()
        entered_ns = np.full(len(log.requests), np.iinfo(np.int64).max)
        entered_ns[reached.request] = reached.enqueued_ns
        left_ns = np.minimum(left_ns, entered_ns[visits.request])
    if stage.skipped is not None:
        skipped_ns = np.full(len(log.requests), np.iinfo(np.int64).max)
        skipped_ns[stage.skipped.request] = stage.skipped.at_ns
        left_ns = np.minimum(left_ns, skipped_ns[visits.request])
    over_ns = left_ns.copy()
    kept = served(stage, visits)
    row = visits.row[kept]
    left_ns[kept] = stage.batches.dispatched_ns[row]
    over_ns[kept] = stage.batches.finished_ns[row]
    return left_ns, over_ns


def _after(log: RunLog, stage: StageLog) -> list[StageLog]:
    """The stages that lie behind one."""
    reached = {stage.name}
    found = []
    for other in log.stages:
        if reached & set(other.parents):
            reached.add(other.name)
            found.append(other)
    return found


def _rides(batches: BatchLog, visits: VisitLog) -> NDArray[np.bool_]:
    """Visits that waited for the answer of a batch under way, which identical requests had asked for."""
    if batches.computed is None or not len(batches.computed):
        return np.zeros(len(visits.row), np.bool_)
    rides: NDArray[np.bool_] = (visits.row >= 0) & (batches.computed[visits.row] == 0)
    return rides


@dataclass(frozen=True, slots=True)
class _Attempts:
    """What became of batches before the attempt that served them: spans in which they were no longer in
    the queue, by the number of the batch. There are two attempts at most, and where a batch is hedged
    they overlap: each instant is in one span.
    """

    visits: VisitLog
    batch: Int64
    """Its number, by row."""
    from_ns: Int64
    to_ns: Int64
    """(2, numbers); an empty span where there is none."""
    lost: NDArray[np.bool_]
    """By number: the first span is of an attempt that was lost before the next was sent; one that was not
    ran beside its copy.
    """

    @staticmethod
    def of(batches: BatchLog, visits: VisitLog) -> _Attempts:
        """Of the batches of one stage."""
        first = np.flatnonzero(batches.attempt == 1)
        second = first.copy()
        again = np.flatnonzero(batches.attempt == 2)
        second[batches.batch[again]] = again
        last = first.copy()
        sent = visits.row[visits.row >= 0]
        last[batches.batch[sent]] = sent
        twice, served = second != first, ~batches.lost[last]
        begun, over = batches.dispatched_ns, batches.finished_ns
        # Of one that was never served all attempts count, of the others those before the last.
        counts = ~served | (last != first)
        until = np.where(twice, np.minimum(over[first], begun[second]), over[first])
        beyond = np.maximum(over[second], np.where(over[first] > begun[second], over[first], 0))
        return _Attempts(
            visits,
            batches.batch,
            np.array([begun[first], begun[second]]),
            np.array(
                [
                    np.where(counts, until, begun[first]),
                    np.where(twice & ~served, beyond, begun[second]),
                ]
            ),
            batches.lost[first] & ~(twice & served & (begun[second] < over[first])),
        )

    @property
    def lost_ns(self) -> Int64:
        """Time in attempts that were lost, by number."""
        first, second = self.to_ns - self.from_ns
        lost: Int64 = np.where(self.lost, first, 0) + second
        return lost

    @property
    def hedged_ns(self) -> Int64:
        """Time in a first attempt, until the copy was sent that served its requests, by number."""
        hedged: Int64 = np.where(self.lost, 0, (self.to_ns - self.from_ns)[0])
        return hedged

    def within(self, total: FreeTime) -> Int64:
        """How much of a running total falls into the spans, by number."""
        spent: Int64 = (total.until(self.to_ns) - total.until(self.from_ns)).sum(axis=0)
        return spent

    def of_visits(self, by_number: Int64) -> Int64:
        """A value of batches as one of visits; 0 for visits that were in no batch."""
        found = np.zeros(len(self.visits.row), np.int64)
        sent = self.visits.row >= 0
        found[sent] = by_number[self.batch[self.visits.row[sent]]]
        return found
