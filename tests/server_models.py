"""What real servers do, told by their own mechanism: open and closed batches, a batcher's loop, payloads.

Each is a small model of one server by its source (cited), in whole steps of a nanosecond, written without
a look at the policy that stands for it: the policies decide from a view of the queue, these move requests
about as the server does. Requests are numbered by arrival and have one item each. Within a step, arrivals
come first, then threads that are done become free, then batches start.

A model returns the batches in the order in which they start: (step, requests).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

Started = list[tuple[int, int]]
Service = Callable[[int, int], int]
"""From (batch number, requests) to how long it takes."""


class Threads:
    """What runs batches: batch threads, instances, a replica."""

    def __init__(self, count: int, service: Service) -> None:
        self._ends = [0] * count
        self._service = service
        self.started: Started = []

    def idle(self, now: int) -> bool:
        return min(self._ends) <= now

    def start(self, now: int, requests: int) -> None:
        thread = self._ends.index(min(self._ends))
        self._ends[thread] = now + self._service(len(self.started), requests)
        self.started.append((now, requests))


def tf_serving(
    arrivals: Sequence[int], threads: int, service: Service, *, max_batch: int, timeout: int
) -> Started:
    """tensorflow/tensorflow, core/kernels/batching_util/shared_batch_scheduler.h: ``Queue::Schedule`` puts
    a task into the open batch and closes that when the next does not fit; ``Queue::ScheduleBatch`` gives
    an idle thread the first closed batch, or the open one if it is full or its first task timed out.
    """
    pool = Threads(threads, service)
    closed: deque[int] = deque()
    opened, size = 0, 0
    entering = deque(arrivals)
    now = 0
    while entering or closed or size:
        while entering and entering[0] == now:
            entering.popleft()
            if size == max_batch:
                closed.append(size)
                size = 0
            opened = now if size == 0 else opened
            size += 1
        while pool.idle(now):
            if closed:
                pool.start(now, closed.popleft())
            elif size == max_batch or (size and now >= opened + timeout):
                pool.start(now, size)
                size = 0
            else:
                break
        now += 1
    return pool.started


def ray_serve(
    arrivals: Sequence[int], service: Service, *, max_batch: int, timeout: int
) -> Started:
    """ray-project/ray, python/ray/serve/batching.py, between pull requests 42705 and 53096:
    ``_process_batches`` waits for a batch, runs it, and only then waits for the next; ``wait_for_batch``
    takes the first request, notes the time, and adds what comes until the batch is full or time is up.
    """
    pool = Threads(1, service)
    entering, queue = deque(arrivals), 0
    batch, began = 0, 0
    now = 0
    while entering or queue or batch:
        while entering and entering[0] == now:
            entering.popleft()
            queue += 1
        if pool.idle(now):
            if batch == 0 and queue:
                batch, began = 1, now
                queue -= 1
            added = min(queue, max_batch - batch) if batch else 0
            batch, queue = batch + added, queue - added
            if batch and (batch == max_batch or now - began >= timeout):
                pool.start(now, batch)
                batch = 0
        now += 1
    return pool.started


class Triton:
    """triton-inference-server/core, src/dynamic_batch_scheduler.cc (``BatcherThread``, ``GetDynamicBatch``)
    and src/rate_limiter.cc (``PayloadSlotAvailable``): a batcher moves requests from the queue into a
    payload, which instances fetch. With ``ahead``, up to two payloads an instance are made before one is
    free, and the last of them still grows; that is so where the queue policy sets no bound, timeout or
    priorities (``support_prefetching_`` in src/scheduler_utils.cc).
    """

    def __init__(
        self,
        instances: int,
        service: Service,
        *,
        max_batch: int,
        delay: int,
        preferred: Sequence[int],
        ahead: bool,
    ) -> None:
        self.pool = Threads(instances, service)
        self.max_batch, self.delay, self.ahead = max_batch, delay, ahead
        self.slots = 2 * instances
        self.preferred = set(preferred) or {max_batch}
        self.queue: deque[int] = deque()
        self.ready: deque[list[int]] = deque()
        self.payload: list[int] = []
        self.saturated = False

    def run(self, arrivals: Sequence[int]) -> Started:
        """Everything from the first arrival until nothing is left."""
        entering = deque(arrivals)
        now = 0
        while entering or self.queue or self.ready:
            while entering and entering[0] == now:
                self.queue.append(entering.popleft())
            while self._batch(now - 1, now) or self._fetch(now - 1, now):
                pass  # before this step's instances are done: what is made ahead grows
            while self._fetch(now, now) or self._batch(now, now):
                pass
            now += 1
        return self.pool.started

    def _fetch(self, done_by: int, now: int) -> bool:
        """An instance takes the first payload, which grows no more."""
        if not self.ready or not self.pool.idle(done_by):
            return False
        taken = self.ready.popleft()
        if taken is self.payload:
            self._renew()
        self.pool.start(now, len(taken))
        return True

    def _renew(self) -> None:
        self.payload, self.saturated = [], False

    def _batch(self, done_by: int, now: int) -> bool:
        """The batcher's turn: whether it moved requests into the payload."""
        if self.saturated:
            self._renew()
        slot = len(self.ready) < self.slots if self.ahead else self.pool.idle(done_by)
        if not self.queue or not slot or (not self.ahead and self.ready):
            return False
        moved = self._examine(now)
        if not moved:
            return False
        if not self.payload:
            self.ready.append(self.payload)
        self.payload += [self.queue.popleft() for _ in range(moved)]
        return True

    def _examine(self, now: int) -> int:
        """How many requests the batcher moves now."""
        held, pending, best, send = len(self.payload), 0, 0, False
        for _ in self.queue:
            total = held + pending + 1
            if total > 1:
                if total > max(self.preferred) and best == 0:
                    best, self.saturated = pending, True
                if total > self.max_batch:
                    send = True
                    break
            pending += 1
            if total in self.preferred:
                best = pending
        exceeded = self.delay > 0 and now - self.queue[0] >= self.delay
        if best and not exceeded:
            self.saturated |= self.delay == 0
            return best
        if send or held + pending >= max(self.preferred):
            self.saturated = True
            return pending
        growing = held > 0 and not self.saturated and held not in self.preferred
        return pending if exceeded or self.delay == 0 or growing else 0
