"""A stage's queue: who waits, in the order in which a batch would take them.

Requests come in chunks that entered together, and leave in batches, so that a queue costs by the
batch and not by the request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Protocol

from policies.contract import NEVER_NS
from policies.requests import RequestTable

AT_ARRIVAL = -1
"""As the entry time of a chunk: each of its requests entered at its own arrival."""

Run = tuple[int, int]
"""(entered_ns or AT_ARRIVAL, how many requests): entry times of a batch, run-length coded."""


Taken = tuple[Sequence[int], Sequence[Run]]
"""Requests that left a queue for a batch, and when they had entered it."""


class Queue(Protocol):
    """What the scheduler asks of a queue. Its length is kept by the scheduler."""

    def push(self, entered_ns: int, requests: Sequence[int]) -> None:
        """Add requests that entered at one time, or each at its arrival (``AT_ARRIVAL``)."""
        ...

    def take(self, count: int) -> Taken:
        """Remove and return the first ``count``; there must be as many."""
        ...

    def take_these(self, requests: Sequence[int]) -> Taken:
        """Remove and return some that wait here, given in the order of service."""
        ...

    def discard(self, request: int) -> int | None:
        """Remove one request and return when it entered (or ``AT_ARRIVAL``); None if not here."""
        ...

    def clear(self) -> list[tuple[int, int]]:
        """Remove and return all :meth:`entries`."""
        ...

    def head(self) -> tuple[int, int] | None:
        """(request, when it entered) of the one that leaves next; None when empty."""
        ...

    def oldest_ns(self) -> int:
        """The earliest entry; ``NEVER_NS`` when empty."""
        ...

    def newest_ns(self) -> int:
        """The latest entry; ``NEVER_NS`` when empty."""
        ...

    def oldest_of(self, count: int) -> int:
        """The earliest entry among the first ``count``, of which there must be as many."""
        ...

    def urgent(self) -> int:
        """How many are of priority level 0, where the queue is served by priority; else all."""
        ...

    def __iter__(self) -> Iterator[int]:
        """Request ids in the order of service."""
        ...

    def entries(self) -> Iterator[tuple[int, int]]:
        """(request, entered_ns or ``AT_ARRIVAL``) of all, in any order."""
        ...


class FifoQueue:
    """First come, first served: a deque of chunks, the first of them partly taken."""

    __slots__ = ("_arrival_ns", "_chunks", "_head")

    def __init__(self, table: RequestTable) -> None:
        self._arrival_ns = table.arrival_ns
        self._chunks: deque[tuple[int, Sequence[int]]] = deque()
        self._head = 0

    def push(self, entered_ns: int, requests: Sequence[int]) -> None:
        """Add at the end; slices of the same list of arrivals become one chunk again."""
        chunks = self._chunks
        if entered_ns == AT_ARRIVAL and chunks and isinstance(requests, range):
            last_ns, last = chunks[-1]
            if last_ns == AT_ARRIVAL and isinstance(last, range) and last.stop == requests.start:
                chunks[-1] = (AT_ARRIVAL, range(last.start, requests.stop))
                return
        chunks.append((entered_ns, requests))

    def take(self, count: int) -> Taken:
        """Slices of the first chunks; the common case of one chunk copies nothing twice."""
        entered_ns, requests = self._chunks[0]
        head = self._head
        left = len(requests) - head
        if left == count:
            self._chunks.popleft()
            self._head = 0
            return requests[head:] if head else requests, ((entered_ns, count),)
        if left > count:
            self._head = head + count
            return requests[head : head + count], ((entered_ns, count),)
        return self._take_across(count)

    def _take_across(self, count: int) -> Taken:
        """Slices of several chunks: one slice still, where they follow one another."""
        slices: list[Sequence[int]] = []
        runs: list[Run] = []
        while count:
            entered_ns, requests = self._chunks[0]
            here = min(len(requests) - self._head, count)
            slices.append(requests[self._head : self._head + here])
            runs.append((entered_ns, here))
            count -= here
            self._head += here
            if self._head == len(requests):
                self._chunks.popleft()
                self._head = 0
        return _join(slices), runs

    def take_these(self, requests: Sequence[int]) -> Taken:
        """Chunk by chunk, as far as the last of them; what is passed over stays at the head."""
        passed: list[tuple[int, Sequence[int]]] = []
        runs: list[Run] = []
        found = 0
        while found < len(requests):
            entered_ns, chunk = self._chunks.popleft()
            index, self._head = self._head, 0
            stay, before = [], found
            while index < len(chunk) and found < len(requests):
                if chunk[index] == requests[found]:
                    found += 1
                else:
                    stay.append(chunk[index])
                index += 1
            if found > before:
                runs.append((entered_ns, found - before))
            passed += [(entered_ns, part) for part in (stay, chunk[index:]) if len(part)]
        self._chunks.extendleft(reversed(passed))
        return requests, runs

    def discard(self, request: int) -> int | None:
        """Look chunk by chunk, from the head: those that leave early are mostly old."""
        for index, (entered_ns, requests) in enumerate(self._chunks):
            start = self._head if index == 0 else 0
            if request in requests:
                kept = [other for other in requests[start:] if other != request]
                if len(kept) == len(requests) - start:
                    continue
                if index == 0:
                    self._head = 0
                if kept:
                    self._chunks[index] = (entered_ns, kept)
                else:
                    del self._chunks[index]
                return entered_ns
        return None

    def clear(self) -> list[tuple[int, int]]:
        """Drop all chunks."""
        entries = list(self.entries())
        self._chunks.clear()
        self._head = 0
        return entries

    def head(self) -> tuple[int, int] | None:
        """The first chunk's first that is left."""
        if not self._chunks:
            return None
        entered_ns, requests = self._chunks[0]
        request = requests[self._head]
        return request, self._arrival_ns[request] if entered_ns == AT_ARRIVAL else entered_ns

    def oldest_ns(self) -> int:
        """The head's entry: chunks are in order of entry."""
        if not self._chunks:
            return NEVER_NS
        entered_ns, requests = self._chunks[0]
        return self._arrival_ns[requests[self._head]] if entered_ns == AT_ARRIVAL else entered_ns

    def newest_ns(self) -> int:
        """The tail's entry."""
        if not self._chunks:
            return NEVER_NS
        entered_ns, requests = self._chunks[-1]
        return self._arrival_ns[requests[-1]] if entered_ns == AT_ARRIVAL else entered_ns

    def oldest_of(self, count: int) -> int:  # noqa: ARG002
        """The head's entry, as above."""
        return self.oldest_ns()

    def urgent(self) -> int:
        """All of them: there are no levels."""
        return sum(len(requests) for _, requests in self._chunks) - self._head

    def __iter__(self) -> Iterator[int]:
        start = self._head
        for _, requests in self._chunks:
            yield from islice(requests, start, None)
            start = 0

    def entries(self) -> Iterator[tuple[int, int]]:
        """Ids and entry times, from the head."""
        start = self._head
        for entered_ns, requests in self._chunks:
            for request in islice(requests, start, None):
                yield request, entered_ns
            start = 0


def _join(slices: Sequence[Sequence[int]]) -> Sequence[int]:
    joined = slices[0]
    for part in slices[1:]:
        if isinstance(joined, range) and isinstance(part, range) and part.start == joined.stop:
            joined = range(joined.start, part.stop)
        else:
            return list(chain.from_iterable(slices))
    return joined
