"""The load generator: sends a workload's requests when they are due, and says how late it was.

It never waits for an answer unless the workload is a closed loop. A request that is sent late keeps
the arrival time that it was due at, so that its latency counts the delay (an open-loop generator that
waits would hide it: "coordinated omission").
"""

from __future__ import annotations

import heapq
import queue
import threading
from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from executors.dispatcher import Submission
from executors.slab import Columns
from policies.contract import NEVER_NS
from policies.runlog import RequestLog
from policies.workload import ClosedWorkload, Workload

_LOOK_S = 0.5
"""How often a closed loop that waits for answers looks whether it is to stop."""


class Line(Protocol):
    """Where requests go."""

    def now_ns(self) -> int:
        """Time since the run's start."""
        ...

    def send(self, submission: Submission) -> None:
        """Submit requests."""
        ...


class Generator(Protocol):
    """Sends a workload."""

    late_ns: array[int]
    """Per request sent, how long after its due time."""

    def run(self, line: Line, stop: threading.Event) -> None:
        """Send all, on the calling thread, until done or told to stop."""
        ...

    def freed(self, now_ns: int, clients: int) -> None:
        """So many requests have ended. Called by the dispatcher's thread."""
        ...


def generator(
    workload: Workload | ClosedWorkload, inputs: Columns, *, by_key: bool = False
) -> Generator:
    """What sends this workload; request k carries row k of the inputs, which are repeated as needed, or
    ``by_key`` the row of its key, so that requests of one key are the same.
    """
    rows = RepeatedRows(inputs, by_key=by_key)
    return (
        OpenLoop(workload, rows) if isinstance(workload, Workload) else ClosedLoop(workload, rows)
    )


def carried_by(requests: RequestLog, inputs: Columns, *, by_key: bool = False) -> Columns:
    """What each request carried, a row each, as :func:`generator` sent it."""
    keys = None if requests.keys is None else requests.keys.tolist()
    return RepeatedRows(inputs, by_key=by_key).take(0, len(requests), keys)


class RepeatedRows:
    """Inputs of any number of requests, from columns that start over at their end: row k is request k's,
    or ``by_key`` that of the requests of key k.
    """

    def __init__(self, inputs: Columns, *, by_key: bool = False) -> None:
        self._inputs = inputs
        self._by_key = by_key
        self._count = min((len(column) for column in inputs.values()), default=1)

    def take(self, first: int, end: int, keys: Sequence[int] | None = None) -> Columns:
        """Rows of requests ``first`` to ``end - 1``, which have these keys."""
        numbers = keys if self._by_key and keys is not None else range(first, end)
        if len(numbers) == 1:
            row = numbers[0] % self._count
            return {name: column[row : row + 1] for name, column in self._inputs.items()}
        rows = np.array(numbers, np.int64) % self._count
        return {name: column[rows] for name, column in self._inputs.items()}


class OpenLoop:
    """Requests go when they are due; those that are due together go together."""

    def __init__(self, workload: Workload, rows: RepeatedRows) -> None:
        self._workload = workload
        self._rows = rows
        self.late_ns = array("q")

    def run(self, line: Line, stop: threading.Event) -> None:
        """See :class:`Generator`."""
        due_ns = self._workload.arrival_ns
        first, total = 0, len(due_ns)
        while first < total:
            pause_ns = int(due_ns[first]) - line.now_ns()
            if stop.wait(pause_ns / 1e9) if pause_ns > 0 else stop.is_set():
                return
            end = int(np.searchsorted(due_ns, line.now_ns(), side="right"))
            if end > first:
                self._send(line, first, end)
                first = end

    def freed(self, now_ns: int, clients: int) -> None:
        """Nothing: an open loop does not wait for answers."""

    def _send(self, line: Line, first: int, end: int) -> None:
        these = slice(first, end)
        keys = None if self._workload.keys is None else self._workload.keys[these].tolist()
        arrival_ns: list[int] = self._workload.arrival_ns[these].tolist()
        line.send(
            Submission(
                arrival_ns,
                self._workload.deadline_ns[these].tolist(),
                self._workload.items[these].tolist(),
                self._workload.priority[these].tolist(),
                self._rows.take(first, end, keys),
                keys,
            )
        )
        sent_ns = line.now_ns()
        self.late_ns.extend(sent_ns - at_ns for at_ns in arrival_ns)


class ClosedLoop:
    """Clients that think, send, wait for the answer, and think again."""

    def __init__(self, workload: ClosedWorkload, rows: RepeatedRows) -> None:
        self._workload = workload
        self._rows = rows
        self._freed: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._thinking: list[tuple[int, int]] = []
        """Heap of (when the client will send, number of the thought)."""
        self._thoughts = 0
        self._last_ns = 0
        self.late_ns = array("q")

    def freed(self, now_ns: int, clients: int) -> None:
        """So many clients are free to think of their next request."""
        self._freed.put((now_ns, clients))

    def run(self, line: Line, stop: threading.Event) -> None:
        """See :class:`Generator`."""
        total = len(self._workload)
        sent = 0
        self._think(0, self._workload.clients)
        while sent < total and not stop.is_set():
            self._wait(line)
            now_ns = line.now_ns()
            due = []
            while self._thinking and self._thinking[0][0] <= now_ns:
                at_ns, number = heapq.heappop(self._thinking)
                # An answer learnt late must not put its client in front of one that has sent.
                self._last_ns = max(self._last_ns, at_ns)
                due.append((self._last_ns, number))
            if due:
                self._send(line, due, sent)
                sent += len(due)

    def _wait(self, line: Line) -> None:
        """Until a client has thought, or is freed."""
        next_ns = self._thinking[0][0] if self._thinking else NEVER_NS
        pause_s = min(max(next_ns - line.now_ns(), 0) / 1e9, _LOOK_S)
        try:
            self._think(*self._freed.get(timeout=pause_s))
            while True:
                self._think(*self._freed.get_nowait())
        except queue.Empty:
            return

    def _think(self, now_ns: int, clients: int) -> None:
        for _ in range(min(clients, len(self._workload) - self._thoughts)):
            due_ns = now_ns + int(self._workload.think_ns[self._thoughts])
            heapq.heappush(self._thinking, (due_ns, self._thoughts))
            self._thoughts += 1

    def _send(self, line: Line, due: Sequence[tuple[int, int]], first: int) -> None:
        after_ns, all_keys = self._workload.deadline_after_ns, self._workload.keys
        keys = None if all_keys is None else [int(all_keys[number]) for _, number in due]
        submission = Submission(
            [at_ns for at_ns, _ in due],
            [NEVER_NS if after_ns is None else at_ns + after_ns for at_ns, _ in due],
            [int(self._workload.items[number]) for _, number in due],
            [int(self._workload.priority[number]) for _, number in due],
            self._rows.take(first, first + len(due), keys),
            keys,
        )
        line.send(submission)
        sent_ns = line.now_ns()
        self.late_ns.extend(sent_ns - at_ns for at_ns, _ in due)


def run_generator(
    source: Generator, line: Line, stop: threading.Event, done: Callable[[], None]
) -> None:
    """The body of the generator's thread: send, then say that no more is to come."""
    try:
        source.run(line, stop)
    finally:
        done()
