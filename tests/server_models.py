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
    arrivals: Sequence[int], service: Service, *, max_batch: int, timeout: int, blocks: bool
) -> Started:
    """ray-project/ray, python/ray/serve/batching.py, since pull request 53096: ``_process_batches`` calls
    ``wait_for_batch`` over and over, which takes a first request, notes the time, and adds what comes until
    the batch is full or time is up; ``_process_sub_batches`` runs the batches one after another, under a
    semaphore of 1.

    With ``blocks`` a batch stops the event loop. A wait that was over by then ends before requests of
    meanwhile are put into the queue.
    """
    pool = Threads(1, service)
    entering, closed = deque(arrivals), deque[int]()
    queue, batch, began = 0, 0, 0
    now, stopped = 0, False
    while entering or queue or batch or closed:
        if not blocks or pool.idle(now):
            if stopped and batch and now - began >= timeout:
                closed.append(batch)
                batch = 0
            while entering and entering[0] <= now:
                entering.popleft()
                queue += 1
            while queue or (batch and now - began >= timeout):
                began = now if batch == 0 else began
                added = min(queue, max_batch - batch)
                batch, queue = batch + added, queue - added
                if batch < max_batch and now - began < timeout:
                    break
                closed.append(batch)
                batch = 0
            if closed and pool.idle(now):
                pool.start(now, closed.popleft())
        stopped = blocks and not pool.idle(now)
        now += 1
    return pool.started


def tf_serving_mixed(
    arrivals: Sequence[int],
    low: Sequence[bool],
    threads: int,
    service: Service,
    *,
    max_batch: int,
    timeout: int,
    low_max: int,
    low_timeout: int,
    low_batches: int,
    policy: str,
    allowed: Sequence[int],
) -> tuple[list[tuple[int, list[int]]], list[int]]:
    """The same with ``enable_priority_queue``: ``Schedule`` puts tasks of low priority into a queue of their
    own; ``GetLowPriorityTasksForPadding`` and ``ScheduleLowPriorityBatch`` take from it, or with
    ``priority_merge`` ``PadOpenBatchWithLowPriorityTasks``.

    Returns the batches as (step, requests), and who was refused (``ValidateLowPriorityTaskQueueCapacity``).
    """
    pool = Threads(threads, service)
    closed, opened = deque[list[int]](), list[int]()
    waiting, refused = deque[int](), list[int]()
    batches: list[tuple[int, list[int]]] = []
    entering = deque(range(len(arrivals)))
    merges = policy == "priority_merge"

    def schedulable(now: int) -> bool:
        size = len(opened) + (len(waiting) if merges else 0)
        starts = [arrivals[each] for each in (*opened, *(waiting if merges else ()))]
        wait = low_timeout if merges and not opened else timeout
        return size > 0 and (size >= max_batch or now >= min(starts) + wait)

    def batch(now: int) -> list[int]:
        nonlocal opened
        if merges and not closed and schedulable(now):
            while waiting and len(opened) < max_batch:
                opened.append(waiting.popleft())
        if closed or schedulable(now):
            found, opened = (closed.popleft(), opened) if closed else (opened, [])
            target = {"low_priority_padding_with_max_batch_size": max_batch}.get(policy, 0)
            if policy == "low_priority_padding_with_next_allowed_batch_size":
                target = next((size for size in allowed if size >= len(found)), 0)
            while waiting and len(found) < target:
                found.append(waiting.popleft())
            return found
        due = waiting and now >= arrivals[waiting[0]] + low_timeout
        if merges or opened or not (due or len(waiting) >= low_max):
            return []
        return [waiting.popleft() for _ in range(min(low_max, len(waiting)))]

    now = 0
    while entering or closed or opened or waiting:
        while entering and arrivals[entering[0]] == now:
            request = entering.popleft()
            if low[request]:
                fits = len(waiting) < low_max * low_batches
                (waiting if fits else refused).append(request)
                continue
            if len(opened) == max_batch:
                closed.append(opened)
                opened = []
            opened.append(request)
        while pool.idle(now) and (found := batch(now)):
            pool.start(now, len(found))
            batches.append((now, found))
        now += 1
    return batches, refused


class PolicyQueue:
    """triton-inference-server/core, src/scheduler_utils.cc, ``PriorityQueue::PolicyQueue``: the queue of one
    priority level. Of requests it knows when they came.
    """

    def __init__(self, timeout: int, action: str, bound: int) -> None:
        self.timeout, self.action, self.bound = timeout, action, bound
        self.queue: list[tuple[int, int]] = []
        """(arrival, request)"""
        self.delayed: list[tuple[int, int]] = []

    def enqueue(self, arrival: int, request: int) -> bool:
        if self.bound and len(self.queue) + len(self.delayed) >= self.bound:
            return False
        self.queue.append((arrival, request))
        return True

    def apply(self, index: int, now: int) -> bool:
        """``ApplyPolicy``: whether there is a request at this index once what is over is gone from it."""
        while index < len(self.queue) and 0 < self.timeout < now - self.queue[index][0]:
            over = self.queue.pop(index)
            if self.action == "delay":
                self.delayed.append(over)
        return index < len(self.queue) + len(self.delayed)

    def at(self, index: int) -> tuple[int, int]:
        return (self.queue + self.delayed)[index]

    def dequeue(self) -> int:
        return (self.queue or self.delayed).pop(0)[1]


def triton_levels(
    arrivals: Sequence[int],
    levels: Sequence[int],
    instances: int,
    service: Service,
    *,
    max_batch: int,
    delay: int,
    preferred: Sequence[int],
    queues: Sequence[PolicyQueue],
) -> list[tuple[int, list[int]]]:
    """``Triton`` with a queue a level, where no payload is made ahead: the batches as (step, requests)."""
    pool = Threads(instances, service)
    sizes = set(preferred) or {max_batch}
    batches: list[tuple[int, list[int]]] = []
    entering = deque(range(len(arrivals)))

    def pending(now: int) -> list[int]:
        """Arrivals of those whom the cursor passes, and of one more where there is one."""
        found: list[int] = []
        for queue in queues:
            index = 0
            while len(found) <= max_batch and queue.apply(index, now):
                found.append(queue.at(index)[0])
                index += 1
        return found

    def examined(now: int, line: Sequence[int]) -> int:
        taken, best = 0, 0
        for _ in line:
            if taken + 1 > max(sizes) and taken and best == 0:
                best = taken
            if taken + 1 > max_batch:
                break
            taken += 1
            best = taken if taken in sizes else best
        exceeded = delay > 0 and now - min(line[:taken], default=now) >= delay
        if best and not exceeded:
            return best
        full = len(line) > max_batch or taken >= max(sizes)
        return taken if full or exceeded or delay == 0 else 0

    now = 0
    while entering or any(queue.queue or queue.delayed for queue in queues):
        while entering and arrivals[entering[0]] == now:
            request = entering.popleft()
            queues[levels[request]].enqueue(now, request)
        while pool.idle(now) and (count := examined(now, pending(now))):
            found: list[int] = []
            for _ in range(count):
                found.append(next(q for q in queues if q.queue or q.delayed).dequeue())
            pool.start(now, count)
            batches.append((now, found))
        now += 1
    return batches


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
        timeout: int = 0,
    ) -> None:
        self.timeout = timeout
        """``ApplyPolicy`` in src/scheduler_utils.cc rejects what is past it as a batch is made."""
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
        if not slot or (not self.ahead and self.ready):
            return False
        while self.queue and 0 < self.timeout < now - self.queue[0]:
            self.queue.popleft()
        if not self.queue:
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
