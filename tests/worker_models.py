"""What servers do whose workers take requests off a queue themselves, told by their own loops.

Each is a small model of one server by its source (cited), written without a look at the policy that stands
for it. Requests are numbered by arrival and have one item each; no two arrive at one instant where that
would matter. What arrives at an instant is in the queue before a worker looks at that instant.

A model returns the batches in the order in which they start: (time, requests).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Started = list[tuple[int, int]]
Service = Callable[[int, int], int]
"""From (batch number, requests) to how long it takes."""

MS = 1_000_000


def mosec(arrivals: Sequence[int], service: Service, *, max_batch: int, max_wait: int) -> Started:
    """mosecorg/mosec, src/protocol.rs: ``get_batch`` receives one task, then runs ``inner_batch`` under
    ``tokio::time::timeout``, which looks at the channel before it looks at the clock.
    """
    started: Started = []
    channel = deque(arrivals)
    now = 0
    while channel:
        now = max(now, channel.popleft())  # receiver.recv().await
        batch, ends = 1, now + max_wait
        while batch < max_batch:
            if not channel or channel[0] > ends:
                now = ends if batch < max_batch else now
                break
            now = max(now, channel.popleft())
            batch += 1
        started.append((now, batch))
        now += service(len(started) - 1, batch)
    return started


def torchserve(
    arrivals: Sequence[int], workers: int, service: Service, *, batch_size: int, max_delay: int
) -> Started:
    """pytorch/serve, frontend/server/.../wlm/Model.java: ``pollInferJob`` under the model's lock: polls a
    first job for as long as it takes, then up to ``batchSize - 1`` more for what is left of the delay.
    """
    started: Started = []
    jobs = deque(arrivals)
    free = [0] * workers
    unlocked = 0
    while jobs:
        worker = free.index(min(free))
        begin = max(free[worker], unlocked, jobs.popleft())
        batch, left, now = 1, max_delay, begin
        for _ in range(batch_size - 1):
            if not jobs or jobs[0] > now + left:  # poll(left) gives null
                now += left
                break
            now = max(now, jobs.popleft())
            left -= now - begin
            begin = now
            batch += 1
            if left <= 0:
                break
        started.append((now, batch))
        unlocked = now
        free[worker] = now + service(len(started) - 1, batch)
    return started


def litserve(
    arrivals: Sequence[int], service: Service, *, max_batch: int, batch_timeout: int
) -> Started:
    """Lightning-AI/LitServe, src/litserve/loops/base.py: ``collate_requests`` gathers until
    ``entered_at + batch_timeout`` or a full batch; a loop that got none enters it again.
    """
    started: Started = []
    queue = deque(arrivals)
    now = 0
    while queue:
        if batch_timeout == 0:
            now = max(now, queue[0])  # it spins until there is one
        ends, batch = now + batch_timeout, 0
        while batch < max_batch and queue and queue[0] < ends + (batch > 0 or batch_timeout == 0):
            now = max(now, queue.popleft())
            batch += 1
        now = now if batch == max_batch else ends
        if batch:
            started.append((now, batch))
            now += service(len(started) - 1, batch)
    return started


class Bentoml:
    """bentoml/BentoML, src/bentoml/_internal/marshal/dispatcher.py: ``CorkDispatcher.controller`` with one
    worker, its ``train_optimizer`` first, and ``Optimizer``. Where the controller would cancel the oldest
    request for ``latency_0 >= max_latency``, it goes at once.
    """

    def __init__(
        self,
        arrivals: Sequence[int],
        service: Service,
        *,
        max_batch: int,
        max_latency: int,
    ) -> None:
        self.entering = deque(arrivals)
        self.service = service
        self.max_batch, self.max_latency = max_batch, max_latency
        self.now = 0
        self.queue: deque[int] = deque()
        self.running: tuple[int, int, int, int] | None = None
        self.started: Started = []
        self.stat: deque[tuple[int, int, int]] = deque(maxlen=50)
        self.counter = 0
        self.a, self.b = min(2e9, max_latency * 2 / 30), min(1e9, max_latency / 30)
        self.wait = 0.0
        self.consumed: int | None = None

    def run(self) -> Started:
        """All batches until nothing is left."""
        for looks in (
            self._train(WARM_UP, 1),
            self._train(1, 1, refresh=True),
            self._train(1, 2, refresh=True),
            self._train(1, 3, refresh=True),
            self._serve(),
        ):
            for _ in looks:
                self._sleep()
        return self.started

    def _has_request(self) -> bool:
        """``wake_event.wait_for(queue.__len__)``; False where none will come."""
        if not self.queue and self.entering:
            self._advance(self.entering[0])
        return bool(self.queue)

    def _train(self, batches: int, size: int, *, refresh: bool = False) -> Iterator[None]:
        size = min(size, self.max_batch)
        patience = min(0.95 * self.max_latency, (2 * size + 1) * self.a + self.b)
        while batches and self._has_request():
            age = self.now - self.queue[0]
            short = size > 1 and len(self.queue) < size
            if (short and size * self.a + self.b + age <= patience) or self.running:
                yield
                continue
            batches -= 1
            self._call(training=True)
        if refresh:
            self._refresh()

    def _serve(self) -> Iterator[None]:
        while self._has_request():
            n, age = len(self.queue), self.now - self.queue[0]
            late = n > 1 and age + self.a * n + self.b >= self.max_latency
            worth = n * (self.now - self.queue[-1] + MS + self.a) <= self.wait * 0.95
            if self.running or (n < self.max_batch and worth and not late):
                yield
                continue
            self._call(training=False)

    def _sleep(self) -> None:
        self._advance(self.now + MS)

    def _advance(self, to: int) -> None:
        self.now = to
        while self.entering and self.entering[0] <= to:
            self.queue.append(self.entering.popleft())
        if self.running and self.running[0] <= to:
            ended, n, wait, duration = self.running
            self.running = None
            self._log(ended, n, wait, duration)

    def _call(self, *, training: bool) -> None:
        n = min(len(self.queue), self.max_batch)
        wait = 0 if training else self.now - self.queue[0]
        for _ in range(n):
            self.queue.popleft()
        duration = self.service(len(self.started), n)
        self.started.append((self.now, n))
        self.running = (self.now + duration, n, wait, duration)

    def _log(self, now: int, n: int, wait: int, duration: int) -> None:
        self.counter += 1
        if self.counter <= 2:
            return
        self.stat.append((n, duration, wait))
        if self.consumed is None or (now - self.consumed) * (1 / 5e9) >= 1:
            self.consumed = now
            self._refresh()

    def _refresh(self) -> None:
        if not self.stat:
            return
        x = [(n, 1) for n, _, _ in self.stat]
        slope, intercept = np.linalg.lstsq(x, [took for _, took, _ in self.stat], rcond=None)[0]
        self.a, self.b = max(1000.0, float(slope)), max(0.0, float(intercept))
        self.wait = max(0.0, sum(wait for _, _, wait in self.stat) / len(self.stat))


WARM_UP = 8
