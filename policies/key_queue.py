"""Queues that are served in the order of a key."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence

from policies.contract import NEVER_NS
from policies.queues import AT_ARRIVAL, Taken
from policies.requests import RequestTable

PUT_OFF = 1 << 48
"""More than there are entries."""


class KeyQueue:
    """Smallest key first, ties by entry: earliest deadline first, or by priority."""

    __slots__ = ("_arrival_ns", "_by_entry", "_keys", "_number", "_sorted", "_waiting")

    def __init__(self, table: RequestTable, keys: Sequence[int]) -> None:
        self._arrival_ns = table.arrival_ns
        self._keys = keys
        self._sorted: list[tuple[int, int, int, int]] = []
        """(key, number of entry, request, entered_ns), the next to leave first; ``PUT_OFF`` is added to the
        number of one that is served behind the others of its key.
        """
        self._by_entry: deque[tuple[int, int]] = deque()
        """(number of entry, entry time), in order of entry; those that left are skipped later."""
        self._waiting: set[int] = set()
        self._number = 0

    def push(self, entered_ns: int, requests: Sequence[int]) -> None:
        """Insert each by its key."""
        for request in requests:
            number = self._number
            self._number = number + 1
            insort(self._sorted, (self._keys[request], number, request, entered_ns))
            self._by_entry.append((number, self._entered(request, entered_ns)))
            self._waiting.add(number)

    def take(self, count: int) -> Taken:
        """The first ``count`` keys."""
        first = self._sorted[:count]
        del self._sorted[:count]
        self._waiting.difference_update(number % PUT_OFF for _, number, _, _ in first)
        runs = [(entered_ns, 1) for _, _, _, entered_ns in first]
        return [request for _, _, request, _ in first], runs

    def take_these(self, requests: Sequence[int]) -> Taken:
        """As far as the last of them."""
        wanted = set(requests)
        passed: list[tuple[int, int, int, int]] = []
        taken: list[tuple[int, int, int, int]] = []
        for entry in self._sorted:
            (taken if entry[2] in wanted else passed).append(entry)
            if len(taken) == len(wanted):
                break
        self._sorted[: len(passed) + len(taken)] = passed
        self._waiting.difference_update(number % PUT_OFF for _, number, _, _ in taken)
        return requests, [(entered_ns, 1) for _, _, _, entered_ns in taken]

    def discard(self, request: int) -> int | None:
        """A linear look: it happens to requests that expire or fail only."""
        for index, (_, number, other, entered_ns) in enumerate(self._sorted):
            if other == request:
                del self._sorted[index]
                self._waiting.discard(number % PUT_OFF)
                return entered_ns
        return None

    def clear(self) -> list[tuple[int, int]]:
        """Drop all."""
        entries = list(self.entries())
        self._sorted.clear()
        self._by_entry.clear()
        self._waiting.clear()
        return entries

    def head(self) -> tuple[int, int] | None:
        """The smallest key."""
        if not self._sorted:
            return None
        _, _, request, entered_ns = self._sorted[0]
        return request, self._entered(request, entered_ns)

    def oldest_ns(self) -> int:
        """The first entry that still waits."""
        while self._by_entry and self._by_entry[0][0] not in self._waiting:
            self._by_entry.popleft()
        return self._by_entry[0][1] if self._by_entry else NEVER_NS

    def newest_ns(self) -> int:
        """The last entry that still waits."""
        while self._by_entry and self._by_entry[-1][0] not in self._waiting:
            self._by_entry.pop()
        return self._by_entry[-1][1] if self._by_entry else NEVER_NS

    def oldest_of(self, count: int) -> int:
        """A look at each: their keys say nothing of it."""
        return min(self._entered(request, at_ns) for _, _, request, at_ns in self._sorted[:count])

    def urgent(self) -> int:
        """All of them: deadlines are no levels."""
        return len(self._sorted)

    def _entered(self, request: int, entered_ns: int) -> int:
        return self._arrival_ns[request] if entered_ns == AT_ARRIVAL else entered_ns

    def __iter__(self) -> Iterator[int]:
        return (request for _, _, request, _ in self._sorted)

    def entries(self) -> Iterator[tuple[int, int]]:
        """Ids and entry times, in the order of service."""
        return ((request, entered_ns) for _, _, request, entered_ns in self._sorted)


class PriorityQueue(KeyQueue):
    """Keys are priority levels."""

    __slots__ = ()

    def urgent(self) -> int:
        """Those before the first of level 1."""
        return bisect_left(self._sorted, (1,))
