"""Hedging at work: which batches of a stage run for too long, and which of two copies was first.

One a stage that hedges, kept beside its replicas; the scheduler tells it of batches sent and ended.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from enum import Enum

from policies.commands import StartBatch
from policies.contract import NEVER_NS
from policies.hedge import WINDOW, Hedge, unit_ns
from policies.journal import StageJournal


class Hope(Enum):
    """What is left to the requests of a batch that did not come through."""

    OTHER = "other"
    """Its other copy runs still, or has answered them."""
    RETRY = "retry"
    """It was sent once only."""
    NONE = "none"
    """Both of its copies are gone."""


_ALONE = -1
"""As the other replica of a batch: its copy was lost, there will be no further one."""


class Hedging:
    """The state of one stage's hedging. ``running`` and ``row`` are the stage's own, by replica."""

    __slots__ = (
        "_alarm_ns",
        "_copies",
        "_due",
        "_journal",
        "_other",
        "_recent",
        "_row",
        "_rule",
        "_running",
        "_service_ns",
        "_slowness",
        "_stale",
    )

    def __init__(
        self,
        rule: Hedge,
        running: Sequence[StartBatch | None],
        row: Sequence[int],
        service_ns: Sequence[int],
        journal: StageJournal,
    ) -> None:
        self._rule = rule
        self._running = running
        self._row = row
        self._service_ns = service_ns
        self._journal = journal
        self._due: list[tuple[int, int, int]] = []
        """Heap of (when it has run for too long, batch, replica); those that ended are skipped."""
        self._copies = 0
        self._other: dict[int, int] = {}
        """Replica to that which runs the other copy of its batch, or _ALONE."""
        self._stale: set[int] = set()
        """Replicas whose batch the other copy has answered."""
        self._recent: deque[float] = deque()
        """Times of the last batches in their units, as they ended; and the same ascending:"""
        self._slowness: list[float] = []
        self._alarm_ns = -1
        """When the last timer was set for."""

    def sent(self, now_ns: int, batch: StartBatch) -> None:
        """A batch was sent for the first time."""
        wait_ns = self._rule.wait_ns(self._service_ns[len(batch.computed)], self._slowness)
        if wait_ns < NEVER_NS - now_ns:
            heapq.heappush(self._due, (now_ns + wait_ns, batch.batch, batch.replica))

    def late(self, now_ns: int, batches: int) -> StartBatch | None:
        """The batch that is to be sent again first, if there is one; ``batches`` were sent so far."""
        if self._next_ns() > now_ns or not self._rule.affords(self._copies, batches):
            return None
        return self._running[self._due[0][2]]

    def new_alarm_ns(self, now_ns: int) -> int:
        """When a timer is to be set for, so that no batch is late unnoticed; ``NEVER_NS`` for none."""
        due_ns = self._next_ns()
        if due_ns <= now_ns or now_ns < self._alarm_ns <= due_ns:
            return NEVER_NS  # noticed already, or there is a timer before it
        if due_ns != NEVER_NS:
            self._alarm_ns = due_ns
        return due_ns

    def _next_ns(self) -> int:
        """When the next batch that runs will have run for too long; ``NEVER_NS`` if none will."""
        while self._due:
            due_ns, number, replica = self._due[0]
            batch = self._running[replica]
            if batch is not None and batch.batch == number and batch.attempt == 1:
                return due_ns
            heapq.heappop(self._due)
        return NEVER_NS

    def copied(self, first: int, second: int) -> None:
        """The batch that was :meth:`late`, on the first replica, runs on the second as well."""
        heapq.heappop(self._due)
        self._copies += 1
        self._other[first] = second
        self._other[second] = first

    def answered(self, replica: int) -> bool:
        """Whether the batch that a replica runs has been answered by its other copy."""
        return replica in self._stale

    def done(self, batch: StartBatch, service_ns: int) -> bool:
        """A batch has been run; whether this is its answer, the other copy having given none."""
        self._learn(service_ns / unit_ns(self._service_ns[len(batch.computed)]))
        replica = batch.replica
        if replica in self._stale:
            self._stale.discard(replica)
            return False
        other = self._other.pop(replica, _ALONE)
        if other != _ALONE:
            del self._other[other]
            self._stale.add(other)
            self._journal.answered(self._row[replica])
        return True

    def dropped_out(self, replica: int) -> Hope:
        """A batch was lost with its replica, or failed on it; what its requests may hope for."""
        if replica in self._stale:
            self._stale.discard(replica)
            return Hope.OTHER
        other = self._other.pop(replica, None)
        if other is None:
            return Hope.RETRY
        if other == _ALONE:
            return Hope.NONE
        self._other[other] = _ALONE
        self._journal.answered(self._row[other])
        return Hope.OTHER

    def _learn(self, slowness: float) -> None:
        self._recent.append(slowness)
        insort(self._slowness, slowness)
        if len(self._recent) > WINDOW:
            del self._slowness[bisect_left(self._slowness, self._recent.popleft())]
