"""The transport to worker processes: one thread in ``select`` over their pipes and a wake-up socket.

Measured against a condition that one receiver thread a worker notifies (two x86 cores, medians): a
timed wait ends 39 us late in ``select`` and 36 us in the condition, a worker's answer is learnt after
42 us and 37 us. That is a tie, so the form without further threads is taken: nothing contends for the
interpreter, and a report is never between two threads. ``select`` because ``poll`` and ``epoll`` round
their timeouts to a millisecond.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence

from executors.realtime import pin_this_thread
from executors.replica import Replica, WorkerError, close_all
from executors.slab import Columns
from executors.transport import Back, Finished, Gone, Lost, Raised, Report
from policies.contract import NEVER_NS

_ATTEMPTS = 3
"""How often in a row a replica may fail to come back before it is given up."""
_LONGEST_WAIT_NS = 3_600_000_000_000

Key = tuple[int, int]


class ProcessTransport:
    """See :class:`executors.transport.Transport`. Takes over replicas that are ready to run batches.

    A replica that dies is replaced in the background where ``respawn`` is set. The last ``spin_ns``
    before a time are spent asking again and again, which ends a wait within a few microseconds.
    """

    def __init__(
        self, replicas: Sequence[Sequence[Replica]], *, respawn: bool, spin_ns: int
    ) -> None:
        self._replicas = {
            (stage, number): replica
            for stage, row in enumerate(replicas)
            for number, replica in enumerate(row)
        }
        self._respawn = respawn
        self._spin_ns = spin_ns
        self._live: dict[int, Key] = {
            replica.pipe.fileno(): key for key, replica in self._replicas.items()
        }
        """By file descriptor of the pipe."""
        self._down: dict[Key, bool] = {}
        """Replicas without a process, and whether they will return."""
        self._off: set[Key] = set()
        """Replicas that were let go: nobody waits for them."""
        self._errands: dict[Key, threading.Thread] = {}
        """Who ended or started a replica's process last: it is one at a time."""
        self._inbox: deque[Report] = deque()
        """Reports from other threads, and those to be repeated."""
        self._revivals: list[threading.Thread] = []
        self._closing = False
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self.lost = 0
        """Worker processes that have died."""
        self.failures: list[str] = []
        """Why replacing one did not work, for each time that it did not."""

    now_ns = staticmethod(time.monotonic_ns)

    def inputs(self, stage: int, replica: int) -> Columns:
        """The replica's shared memory."""
        return self._replicas[stage, replica].memory.inputs

    def outputs(self, stage: int, replica: int) -> Columns:
        """The replica's shared memory."""
        return self._replicas[stage, replica].memory.outputs

    def start(self, stage: int, replica: int, requests: int, level: int) -> None:
        """Send the order; a process that has just died is noticed by :meth:`wait`."""
        with contextlib.suppress(OSError):
            self._replicas[stage, replica].send(requests, level)

    def wake(self) -> None:
        """One byte; a socket that is full wakes as well."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._waker.send(b"\0")

    def begin(self, off: Collection[Key]) -> None:
        """Meet a new listener, which expects all replicas but ``off`` to be up: report again every one
        that is down, let those go that it has no use for, and bring those up that were let go.
        """
        while self._inbox:
            self._taken_in(self._inbox.popleft())
        for key in self._replicas:
            if key in off:
                self._off.add(key)
                if key not in self._down:
                    self.retire(*key)
            elif key in self._off:
                self.launch(*key)
        for (stage, replica), returns in self._down.items():
            if (stage, replica) in self._off:
                continue
            # In front of the return, which another thread may report meanwhile.
            self._inbox.appendleft(Lost(stage, replica, returns))

    def wait(self, until_ns: int) -> list[Report]:
        """See :class:`executors.transport.Transport`."""
        ready = self._select(until_ns)
        reports: list[Report] = []
        for fd in ready:
            if fd == self._woken.fileno():
                with contextlib.suppress(BlockingIOError):
                    while self._woken.recv(4096):
                        pass
            else:
                reports.append(self._read(fd))
        while self._inbox:
            report = self._taken_in(self._inbox.popleft())
            if report is not None:
                reports.append(report)
        return reports

    def launch(self, stage: int, replica: int) -> None:
        """Start another process for it, in the background."""
        key = stage, replica
        self._off.discard(key)
        if key not in self._live.values() and not self._down.get(key, False):
            self._down[key] = True
            self._in_background(key, self._revive)

    def retire(self, stage: int, replica: int) -> None:
        """End its process, in the background."""
        key = stage, replica
        self._off.add(key)
        self._live = {fd: other for fd, other in self._live.items() if other != key}
        self._in_background(key, lambda key: self._replicas[key].end())

    def _in_background(self, key: Key, errand: Callable[[Key], None]) -> None:
        """Do something about a replica's process once what was to be done before is done."""
        before = self._errands.get(key)

        def run() -> None:
            if before is not None:
                before.join()
            errand(key)

        thread = threading.Thread(target=run, name="delayline-revive")
        self._errands[key] = thread
        self._revivals = [other for other in self._revivals if other.is_alive()]
        self._revivals.append(thread)
        thread.start()

    def kill(self, stage: int, replica: int) -> None:
        """End a replica's process; it is then lost like any other."""
        self._replicas[stage, replica].kill()

    def close(self) -> None:
        """End all workers and wait for them."""
        self._closing = True
        for replica in self._replicas.values():
            replica.kill() if self._revivals else replica.hang_up()
        for thread in self._revivals:
            thread.join()
        close_all(list(self._replicas.values()))
        self._live.clear()
        self._woken.close()
        self._waker.close()

    def _select(self, until_ns: int) -> list[int]:
        watched = [*self._live, self._woken.fileno()]
        if self._inbox:
            until_ns = 0
        while True:
            left_ns = min(until_ns - time.monotonic_ns(), _LONGEST_WAIT_NS)
            pause_ns = 0 if left_ns <= self._spin_ns else left_ns - self._spin_ns
            ready: list[int] = select.select(watched, [], [], pause_ns / 1e9)[0]
            if ready or time.monotonic_ns() >= until_ns or until_ns == NEVER_NS:
                return ready

    def _read(self, fd: int) -> Report:
        stage, replica = key = self._live[fd]
        try:
            reply = self._replicas[key].receive()
        except (EOFError, OSError):
            return self._lose(key)
        if reply.error:
            return Raised(stage, replica, reply.error)
        return Finished(stage, replica, reply.started_ns, reply.compute_ns)

    def _lose(self, key: Key) -> Report:
        self.lost += 1
        self._live = {fd: other for fd, other in self._live.items() if other != key}
        self._down[key] = self._respawn
        if self._respawn:
            self._in_background(key, self._revive)
        return Lost(*key, returns=self._respawn)

    def _revive(self, key: Key) -> None:
        """Start another process in the dead one's place; in a thread of its own."""
        replica = self._replicas[key]
        pin_this_thread(replica.job.place.cores)
        report: Report = Gone(*key)
        for _ in range(_ATTEMPTS):
            if self._closing:
                return
            try:
                replica.revive()
            except (WorkerError, OSError) as error:
                self.failures.append(str(error))
                continue
            report = Back(*key)
            break
        self._inbox.append(report)
        self.wake()

    def _taken_in(self, report: Report) -> Report | None:
        """Note a report of a revival; None where the replica has been let go in the meantime."""
        key = report.stage, report.replica
        if isinstance(report, Back):
            del self._down[key]
            if key in self._off:
                self.retire(*key)
                return None
            self._live[self._replicas[key].pipe.fileno()] = key
        elif isinstance(report, Gone):
            self._down[key] = False
            if key in self._off:
                return None
        return report
