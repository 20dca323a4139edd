"""Where a simulation's requests come from: a list known ahead, or clients that wait for answers."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

from policies.commands import SetTimer
from policies.contract import NEVER_NS
from policies.requests import RequestTable
from policies.scheduler import Scheduler
from policies.workload import ClosedWorkload, Workload


class Source(Protocol):
    """Brings arrivals to a scheduler, and says when it must be given the chance to."""

    @property
    def total(self) -> int:
        """Requests in all."""
        ...

    @property
    def next_ns(self) -> int:
        """The next arrival; ``NEVER_NS`` if there is none until a request ends."""
        ...

    @property
    def alarm_ns(self) -> int:
        """When the driver must wake for an arrival, whatever the timers say; or ``NEVER_NS``."""
        ...

    def bring(self, now_ns: int) -> None:
        """Hand over all arrivals up to now; called when ``next_ns`` has come."""
        ...

    def wake_ns(self, timer: SetTimer) -> int:
        """When a timer is to fire: at its time, or earlier when enough arrivals are due."""
        ...

    def ended(self, now_ns: int, requests: Sequence[int]) -> None:
        """These requests were answered or dropped."""
        ...


class OpenSource:
    """Arrivals come when they come; their times are known ahead."""

    def __init__(self, scheduler: Scheduler, workload: Workload) -> None:
        self._scheduler = scheduler
        self._arrival_ns: Sequence[int] = workload.arrival_ns.data
        self._together = scheduler.batches_arrivals
        self._roots = {root.index for root in scheduler.roots} if self._together else frozenset()
        """Stages whose arrivals are brought when a batch can form of them."""
        self._cursor = 0
        self.total = len(workload)
        self.next_ns = self._arrival_ns[0] if self.total else NEVER_NS
        # The last arrival is brought in its time, though too few may be left for any hold's size.
        self.alarm_ns = self._arrival_ns[-1] if self._together and self.total else self.next_ns

    def bring(self, now_ns: int) -> None:
        """All arrivals up to now, as one chunk: a slice of the list."""
        start = self._cursor
        reach = 8
        while start + reach < self.total and self._arrival_ns[start + reach] <= now_ns:
            reach *= 2
        last = min(start + reach, self.total)
        end = bisect_right(self._arrival_ns, now_ns, start, last)
        self._cursor = end
        self.next_ns = self._arrival_ns[end] if end < self.total else NEVER_NS
        if not self._together or end == self.total:
            self.alarm_ns = self.next_ns
        self._scheduler.arrived(now_ns, range(start, end), at_arrival=True)

    def wake_ns(self, timer: SetTimer) -> int:
        """A root's hold ends early with the arrival that makes it large enough."""
        if timer.stage in self._roots:
            index = self._cursor + timer.more - 1
            if index < self.total:
                return min(timer.at_ns, self._arrival_ns[index])
        return timer.at_ns

    def ended(self, now_ns: int, requests: Sequence[int]) -> None:
        """Nothing: an open workload does not wait for answers."""


class ClosedSource:
    """Clients that think, send, wait for the answer, and think again."""

    def __init__(self, scheduler: Scheduler, table: RequestTable, workload: ClosedWorkload) -> None:
        self._scheduler = scheduler
        self._table = table
        self._workload = workload
        self._sent = 0
        self._thinking: list[tuple[int, int]] = []
        """Heap of (when the client will send, number of the thought)."""
        self.total = len(workload)
        self._think(0, workload.clients)

    @property
    def next_ns(self) -> int:
        """The first client to be done with thinking."""
        return self._thinking[0][0] if self._thinking else NEVER_NS

    alarm_ns = next_ns

    def _think(self, now_ns: int, clients: int) -> None:
        for _ in range(min(clients, self.total - self._sent)):
            due_ns = now_ns + int(self._workload.think_ns[self._sent])
            heapq.heappush(self._thinking, (due_ns, self._sent))
            self._sent += 1

    def bring(self, now_ns: int) -> None:
        """Every client whose time has come sends."""
        after_ns = self._workload.deadline_after_ns
        keys = self._workload.keys
        requests = []
        while self._thinking and self._thinking[0][0] <= now_ns:
            number = heapq.heappop(self._thinking)[1]
            requests.append(
                self._table.append(
                    now_ns,
                    NEVER_NS if after_ns is None else now_ns + after_ns,
                    int(self._workload.items[number]),
                    int(self._workload.priority[number]),
                    None if keys is None else int(keys[number]),
                )
            )
        self._scheduler.arrived(now_ns, requests)

    def wake_ns(self, timer: SetTimer) -> int:
        """The timer's own time: what comes depends on what is answered."""
        return timer.at_ns

    def ended(self, now_ns: int, requests: Sequence[int]) -> None:
        """As many clients are free to think of their next request."""
        self._think(now_ns, len(requests))
