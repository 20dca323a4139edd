"""How each request spent its time at a stage: merging, held, waiting for a replica, served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import BatchLog, Int64, Outcome, RunLog, StageLog, VisitLog
from reports.freetime import FreeTime, free_time


@dataclass(frozen=True, slots=True)
class VisitTimes:
    """The served visits of a stage, in order of dispatch, all columns (n,).

    ``queue_ns`` is the whole wait, ``hold_ns`` the part of it by choice. A batch whose copy was first is
    served from when it was first sent.
    """

    request: Int64
    dispatched_ns: Int64
    queue_ns: Int64
    hold_ns: Int64
    service_ns: Int64


def served(stage: StageLog, visits: VisitLog) -> NDArray[np.bool_]:
    """Which of a stage's visits ended in a batch that was not lost."""
    row = visits.row
    if len(stage.batches.batch) == 0:
        return np.zeros(len(row), np.bool_)
    return (row >= 0) & ~stage.batches.lost[row]


def visit_times(log: RunLog, index: int) -> VisitTimes:
    """The parts of every served visit to stage number ``index``."""
    stage = log.stages[index]
    visits = stage.visits.made()
    kept = served(stage, visits)
    row, enqueued = visits.row[kept], visits.enqueued_ns[kept]
    batches = stage.batches
    sent_ns = first_sent_ns(batches)
    dispatched = sent_ns[row]
    free = free_time(log, index)
    held = free.until(sent_ns) - _free_while_lost(batches, free)
    return VisitTimes(
        request=visits.request[kept],
        dispatched_ns=dispatched,
        queue_ns=dispatched - enqueued,
        hold_ns=held[row] - free.until(enqueued),
        service_ns=(batches.finished_ns - sent_ns)[row],
    )


def first_sent_ns(batches: BatchLog) -> Int64:
    """When each batch was sent: of a copy that a hedge sent, when the attempt that it copies was."""
    copy = _copies(batches)
    if not len(copy):
        return batches.dispatched_ns
    sent_ns = batches.dispatched_ns.copy()
    sent_ns[copy] = batches.dispatched_ns[_first_rows(batches)[copy]]
    return sent_ns


def _copies(batches: BatchLog) -> Int64:
    """Rows of second attempts that were sent while the first ran, if at its last instant, and not after it
    was lost.
    """
    second: Int64 = np.flatnonzero(batches.attempt == 2)
    first = _first_rows(batches)[second]
    beside = batches.dispatched_ns[second] < batches.finished_ns[first]
    copies: Int64 = second[beside | ~batches.lost[first]]
    return copies


def _first_rows(batches: BatchLog) -> Int64:
    """For each row, that of its batch's first attempt; these are numbered in order."""
    rows: Int64 = np.flatnonzero(batches.attempt == 1)[batches.batch]
    return rows


def _free_while_lost(batches: BatchLog, free: FreeTime) -> Int64:
    """For each batch, the stage's free time during an earlier attempt that was lost before it was sent
    again: no one was held then.
    """
    if not batches.lost.any():
        return np.zeros(len(batches.batch), np.int64)
    lost = batches.lost.copy()
    hedged = _copies(batches)
    lost[hedged] = lost[_first_rows(batches)[hedged]] = False
    ran = free.until(batches.finished_ns[lost]) - free.until(batches.dispatched_ns[lost])
    by_number = np.zeros(int(batches.batch.max()) + 1, np.int64)
    np.add.at(by_number, batches.batch[lost], ran)
    return by_number[batches.batch]


def merge_ns(log: RunLog, index: int, warmup_ns: int = 0) -> Int64 | None:
    """Merge wait of each request served at a join; None for a stage with fewer than two parents.

    One value for each completed request that arrived at or after the cut, in order of arrival.
    """
    spread = merge_by_request(log, index)
    if spread is None:
        return None
    counted = log.requests.outcome == Outcome.COMPLETED
    counted &= log.requests.arrival_ns >= warmup_ns
    chosen: Int64 = spread[counted]
    return chosen


def merge_by_request(log: RunLog, index: int) -> Int64 | None:
    """Merge wait by request id; meaningful for completed requests only. Zero where it did not come by."""
    stage = log.stages[index]
    if len(stage.parents) < 2:
        return None
    by_name = {other.name: other for other in log.stages}
    visits = stage.visits.made()
    entered = np.full(len(log.requests), -1, np.int64)
    entered[visits.request] = visits.enqueued_ns
    first = entered.copy()
    for name in stage.parents:
        finished = finished_by_request(log, by_name[name])
        first = np.where((finished >= 0) & (finished < first), finished, first)
    return entered - first


def finished_by_request(log: RunLog, stage: StageLog) -> Int64:
    """When each request's batch at a stage was over, by request id; -1 where it was not served there."""
    finished = np.full(len(log.requests), -1, np.int64)
    visits = stage.visits.made()
    kept = served(stage, visits)
    finished[visits.request[kept]] = stage.batches.finished_ns[visits.row[kept]]
    return finished
