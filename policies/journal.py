"""The scheduler's own diary: what it decided and was told, kept small, turned into a run log at the end."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from policies.queues import AT_ARRIVAL, Run
from policies.runlog import BatchLog, Int64, VisitLog

_DISPATCH_COLUMNS = 6
_FINISH_COLUMNS = 4


class StageJournal:
    """What happened at one stage. Row r of ``dispatches`` is the r-th batch that was sent.

    Kept in flat integer arrays, about 8 bytes a visit and 80 bytes a batch.
    """

    __slots__ = ("_dispatches", "_finishes", "_left", "_retries", "_runs", "_visits", "rows")

    def __init__(self) -> None:
        self._dispatches = array("q")
        """batch, replica, dispatched_ns, requests, items, attempt"""
        self._finishes = array("q")
        """row, started_ns, finished_ns, lost"""
        self._visits = array("q")
        """request ids in order of first dispatch"""
        self._runs = array("q")
        """entered_ns, count: entry times of the visits, run-length coded"""
        self._left = array("q")
        """request, entered_ns: visits that ended in the queue"""
        self._retries: list[tuple[int, int]] = []
        """(row of the lost attempt, row of its retry)"""
        self.rows = 0

    def sent(
        self,
        batch: int,
        replica: int,
        now_ns: int,
        requests: Sequence[int],
        runs: Sequence[Run],
        items: int,
    ) -> int:
        """These requests left the queue as a batch; returns its row."""
        self._dispatches.extend((batch, replica, now_ns, len(requests), items, 1))
        self._visits.extend(requests)
        for run in runs:
            self._runs.extend(run)
        row = self.rows
        self.rows = row + 1
        return row

    def resent(self, lost_row: int, replica: int, now_ns: int) -> int:
        """The batch of a lost row was sent once more; returns the new row."""
        start = lost_row * _DISPATCH_COLUMNS
        batch, _, _, requests, items, attempt = self._dispatches[start : start + _DISPATCH_COLUMNS]
        self._dispatches.extend((batch, replica, now_ns, requests, items, attempt + 1))
        row = self.rows
        self.rows = row + 1
        self._retries.append((lost_row, row))
        return row

    def finished(self, row: int, started_ns: int, now_ns: int, lost: bool) -> None:
        """The batch in this row is over."""
        self._finishes.extend((row, started_ns, now_ns, lost))

    def left(self, request: int, entered_ns: int) -> None:
        """A request left the queue without being sent."""
        self._left.extend((request, entered_ns))

    def over(self) -> NDArray[np.bool_]:
        """Per row, whether the batch has finished and was not lost."""
        over = np.zeros(self.rows, np.bool_)
        row, _, _, lost = _table(self._finishes, _FINISH_COLUMNS)
        over[row] = lost == 0
        return over

    def batches(self, end_ns: int) -> BatchLog:
        """The batches; one that still runs counts as finished at ``end_ns``."""
        columns = _table(self._dispatches, _DISPATCH_COLUMNS)
        batch, replica, dispatched, requests, items, attempt = columns
        started = dispatched.copy()
        finished = np.full(self.rows, end_ns, np.int64)
        lost = np.zeros(self.rows, np.bool_)
        row, started_ns, finished_ns, was_lost = _table(self._finishes, _FINISH_COLUMNS)
        started[row] = started_ns
        finished[row] = finished_ns
        lost[row] = was_lost != 0
        return BatchLog(
            batch=batch,
            replica=replica.astype(np.int32),
            dispatched_ns=dispatched,
            started_ns=started,
            finished_ns=finished,
            requests=requests,
            items=items,
            attempt=attempt.astype(np.int8),
            lost=lost,
        )

    def visit_log(
        self, batches: BatchLog, arrival_ns: Int64, queued: Iterable[tuple[int, int]]
    ) -> VisitLog:
        """The visits, with entry times written out and each pointing at its last attempt.

        ``queued`` are the (request, entered_ns) that are in the queue still.
        """
        first = batches.attempt == 1
        row = np.repeat(np.flatnonzero(first), batches.requests[first])
        last = np.arange(self.rows)
        # Later retries first, so that a chain of them would resolve to its end.
        for lost_row, retry in reversed(self._retries):
            last[lost_row] = last[retry]
        request = np.frombuffer(self._visits, np.int64).copy()
        entered_ns, count = _table(self._runs, 2)
        enqueued = np.repeat(entered_ns, count)
        left, left_ns = _table(self._left + array("q", chain.from_iterable(queued)), 2)
        request = np.concatenate([request, left])
        enqueued = np.concatenate([enqueued, left_ns])
        at_arrival = enqueued == AT_ARRIVAL
        enqueued[at_arrival] = arrival_ns[request[at_arrival]]
        row = np.concatenate([last[row], np.full(len(left), -1, np.int64)])
        return VisitLog(request=request, enqueued_ns=enqueued, row=row)


def _table(flat: array[int], columns: int) -> NDArray[np.int64]:
    """A flat row-major array as (columns, rows), copied so that the source may grow on."""
    if not len(flat):
        return np.zeros((columns, 0), np.int64)
    return np.ascontiguousarray(np.frombuffer(flat, np.int64).reshape(-1, columns).T)
