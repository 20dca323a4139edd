"""The scheduler's own diary: what it decided and was told, kept small, turned into a run log at the end."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from policies.queues import AT_ARRIVAL, Run
from policies.runlog import BatchLog, Int64, SkipLog, VisitLog

_SENT_COLUMNS = 5
_LISTED = -1
"""As the first request of a batch: they do not follow one another, but stand in a list."""
_SEVERAL = -2
"""As the entry time of a batch: its requests entered at several times."""


class StageJournal:
    """What happened at one stage, in flat integer arrays. Row r is the r-th batch that was sent.

    A batch of consecutive requests that entered together costs 64 bytes in all; otherwise its
    requests cost 8 bytes each and each of its entry times 16.
    """

    __slots__ = (
        "_again",
        "_finishes",
        "_first",
        "_left",
        "_listed",
        "_lost",
        "_runs",
        "_sent",
        "_served",
        "_skipped",
        "rows",
        "shared_rows",
    )

    def __init__(self) -> None:
        self._sent = array("q")
        """replica, dispatched_ns, requests, first request or _LISTED, entered_ns or _SEVERAL"""
        self._listed = array("q")
        """request ids of the batches that are _LISTED"""
        self._runs = array("q")
        """entered_ns, count: of the batches that entered at _SEVERAL times"""
        self._finishes = array("q")
        """row, started_ns, finished_ns"""
        self._left = array("q")
        """request, entered_ns: visits that ended in the queue"""
        self._skipped = array("q")
        """request, at_ns: those of them that went on without the stage"""
        self._lost: list[int] = []
        """rows whose replica was lost"""
        self.shared_rows: list[int] = []
        """rows of which nothing was computed"""
        self._again: list[tuple[int, int]] = []
        """(row of the first attempt, row of the second)"""
        self._first: dict[int, int] = {}
        """the same by the row of the second"""
        self._served: dict[int, int] = {}
        """row of a first attempt to that which serves its requests, where that is the second"""
        self.rows = 0

    def sent(self, replica: int, now_ns: int, requests: Sequence[int], runs: Sequence[Run]) -> int:
        """These requests left the queue as a batch; returns its row."""
        first = requests[0]
        if not isinstance(requests, range):
            self._listed.extend(requests)
            first = _LISTED
        entered_ns = runs[0][0]
        if len(runs) > 1:
            self._runs.extend(chain.from_iterable(runs))
            entered_ns = _SEVERAL
        # fromlist is the cheapest way into an array, and this runs once a batch.
        self._sent.fromlist([replica, now_ns, len(requests), first, entered_ns])
        row = self.rows
        self.rows = row + 1
        return row

    def resent(self, lost_row: int, replica: int, now_ns: int) -> int:
        """The batch of a lost row was sent once more; returns the new row."""
        row = self.copied(lost_row, replica, now_ns)
        self.answered(row)
        return row

    def copied(self, first_row: int, replica: int, now_ns: int) -> int:
        """The batch of a row was sent once more while that runs; returns the new row."""
        requests = self._sent[first_row * _SENT_COLUMNS + 2]
        self._sent.fromlist([replica, now_ns, requests, _LISTED, _SEVERAL])
        row = self.rows
        self.rows = row + 1
        self._again.append((first_row, row))
        self._first[row] = first_row
        return row

    def answered(self, row: int) -> None:
        """Of the two attempts of a batch, it is the one in this row that serves its requests."""
        first = self._first.get(row, row)
        self._served[first] = row

    def finished(self, row: int, started_ns: int, now_ns: int) -> None:
        """The batch in this row is over."""
        self._finishes.fromlist([row, started_ns, now_ns])

    def shared(self, row: int, now_ns: int) -> None:
        """The requests in this row had their answer from another batch, which is over now."""
        self.finished(row, now_ns, now_ns)
        self.shared_rows.append(row)

    def lost(self, row: int) -> None:
        """The batch in this row was lost with its replica."""
        self._lost.append(row)

    def left(self, request: int, entered_ns: int) -> None:
        """A request left the queue without being sent."""
        self._left.extend((request, entered_ns))

    def skipped(self, request: int, entered_ns: int, now_ns: int) -> None:
        """A request left the queue and went on without being served."""
        self.left(request, entered_ns)
        self._skipped.extend((request, now_ns))

    def skips(self, level: int) -> SkipLog:
        """The requests that went on so, which they do at this level."""
        request, at_ns = _table(self._skipped, 2)
        return SkipLog(level=level, request=request, at_ns=at_ns)

    def over(self) -> NDArray[np.bool_]:
        """Per row, whether the batch has finished and was not lost."""
        over = np.zeros(self.rows, np.bool_)
        over[_table(self._finishes, 3)[0]] = True
        over[self._lost] = False
        return over

    def visits(self, arrival_ns: Int64, queued: Iterable[tuple[int, int]]) -> VisitLog:
        """The visits, with entry times written out and each pointing at the attempt that serves it.

        ``queued`` are the (request, entered_ns) that are in the queue still.
        """
        _, _, count, first, entered_ns = _table(self._sent, _SENT_COLUMNS)
        rows = np.flatnonzero(~self._is_second())
        count, first, entered_ns = count[rows], first[rows], entered_ns[rows]
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        request = np.repeat(first, count)
        listed = request == _LISTED
        request += offset
        request[listed] = np.frombuffer(self._listed, np.int64)
        enqueued = np.repeat(entered_ns, count)
        run_ns, run_count = _table(self._runs, 2)
        enqueued[enqueued == _SEVERAL] = np.repeat(run_ns, run_count)
        left, left_ns = _table(self._left + array("q", chain.from_iterable(queued)), 2)
        request = np.concatenate([request, left])
        enqueued = np.concatenate([enqueued, left_ns])
        at_arrival = enqueued == AT_ARRIVAL
        enqueued[at_arrival] = arrival_ns[request[at_arrival]]
        row = np.concatenate([np.repeat(self._serving()[rows], count), np.full_like(left, -1)])
        return VisitLog(request=request, enqueued_ns=enqueued, row=row)

    def batches(self, end_ns: int, visits: VisitLog, items: Int64) -> BatchLog:
        """The batches; one that still runs counts as finished at ``end_ns``. ``items`` by request."""
        replica, dispatched, requests, _, _ = _table(self._sent, _SENT_COLUMNS)
        started = dispatched.copy()
        finished = np.full(self.rows, end_ns, np.int64)
        row, started_ns, finished_ns = _table(self._finishes, 3)
        started[row] = started_ns
        finished[row] = finished_ns
        lost = np.zeros(self.rows, np.bool_)
        lost[self._lost] = True
        is_second = self._is_second()
        number = np.cumsum(~is_second) - 1
        total = np.zeros(self.rows, np.int64)
        sent = visits.row >= 0
        np.add.at(total, visits.row[sent], items[visits.request[sent]])
        total = self.in_both(total)
        discarded = np.zeros(self.rows, np.bool_)
        for first, second in self._again:
            number[second] = number[first]
            other = first if self._served.get(first) == second else second
            discarded[other] = not lost[other]
        return BatchLog(
            batch=number,
            replica=replica.astype(np.int32),
            dispatched_ns=dispatched,
            started_ns=started,
            finished_ns=finished,
            requests=requests,
            items=total,
            attempt=np.where(is_second, 2, 1).astype(np.int8),
            lost=lost,
            discarded=discarded,
        )

    def in_both(self, column: Int64) -> Int64:
        """A column of what visits add up to, which they do in one of a batch's attempts, given to both."""
        for first, second in self._again:
            column[first] = column[second] = max(column[first], column[second])
        return column

    def _is_second(self) -> NDArray[np.bool_]:
        is_second = np.zeros(self.rows, np.bool_)
        is_second[[row for _, row in self._again]] = True
        return is_second

    def _serving(self) -> Int64:
        """By row of a first attempt, the row of the one that serves its requests."""
        serving = np.arange(self.rows)
        for first, row in self._served.items():
            serving[first] = row
        return serving


def _table(flat: array[int], columns: int) -> NDArray[np.int64]:
    """A flat row-major array as (columns, rows), copied so that the source may grow on."""
    if not len(flat):
        return np.zeros((columns, 0), np.int64)
    return np.ascontiguousarray(np.frombuffer(flat, np.int64).reshape(-1, columns).T)
