"""A queue whose requests have only so much time in it, and whose levels hold only so many."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence

from policies.contract import NEVER_NS
from policies.key_queue import PUT_OFF, KeyQueue
from policies.pipeline import Discipline
from policies.queue_limits import QueueLimit, limit_of
from policies.requests import RequestTable


class _Same(Sequence[int]):
    """The key of all requests where they are served in the order of entry."""

    def __getitem__(self, index: int | slice) -> int:  # type: ignore[override]
        return 0

    def __len__(self) -> int:
        return 0


class LimitedQueue(KeyQueue):
    """A queue of any discipline that keeps the :class:`QueueLimit` of each level."""

    __slots__ = ("_due", "_levels", "_limits")

    def __init__(
        self, discipline: Discipline, table: RequestTable, limits: Sequence[QueueLimit]
    ) -> None:
        keys: dict[Discipline, Sequence[int]] = {
            Discipline.FIFO: _Same(),
            Discipline.EDF: table.deadline_ns,
            Discipline.PRIORITY: table.priority,
        }
        super().__init__(table, keys[discipline])
        self._levels = table.priority if discipline is Discipline.PRIORITY else None
        self._limits = limits
        self._due: list[tuple[int, int, int, int]] = []
        """Heap of (due_ns, number of entry, request, entered_ns); those that left are skipped later."""

    def push(self, entered_ns: int, requests: Sequence[int]) -> None:
        """Insert each, and note when its time is up."""
        first = self._number
        super().push(entered_ns, requests)
        for number, request in enumerate(requests, first):
            timeout_ns = self._limit(request).timeout_ns
            if timeout_ns:
                due_ns = self._entered(request, entered_ns) + timeout_ns
                heapq.heappush(self._due, (due_ns, number, request, entered_ns))

    def due_ns(self) -> int:
        """When the next one's time is up; ``NEVER_NS`` where nobody's is to come."""
        while self._due and self._due[0][1] not in self._waiting:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else NEVER_NS

    def lapse(self, now_ns: int) -> list[tuple[int, int]]:
        """Deal with those whose time is over, in the order of entry: put them behind the others of their
        level, or remove and return them as (request, entered_ns).
        """
        over = []
        while self._due and self._due[0][0] < now_ns:
            _, number, request, entered_ns = heapq.heappop(self._due)
            if number in self._waiting:
                over.append((number, request, entered_ns))
        removed = []
        for number, request, entered_ns in sorted(over):
            key = self._keys[request]
            del self._sorted[bisect_left(self._sorted, (key, number))]
            if self._limit(request).puts_off:
                insort(self._sorted, (key, number + PUT_OFF, request, entered_ns))
            else:
                self._waiting.discard(number)
                removed.append((request, entered_ns))
        return removed

    def full_for(self, request: int) -> bool:
        """Whether as many of this request's level wait as may."""
        return self._at_level(self._level(request)) >= self._limit(request).bound

    def urgent(self) -> int:
        """Those before the first of level 1."""
        if self._levels is None:
            return len(self._sorted)
        return bisect_left(self._sorted, (1,))

    def clear(self) -> list[tuple[int, int]]:
        """Drop all."""
        self._due.clear()
        return super().clear()

    def _at_level(self, level: int) -> int:
        if self._levels is None:
            return len(self._sorted)
        return bisect_left(self._sorted, (level + 1,)) - bisect_left(self._sorted, (level,))

    def _level(self, request: int) -> int:
        return 0 if self._levels is None else self._levels[request]

    def _limit(self, request: int) -> QueueLimit:
        return limit_of(self._limits, self._level(request))
