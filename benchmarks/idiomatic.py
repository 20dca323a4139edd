"""The baseline: the same pipeline as a SimPy textbook would write it.

One process a request, one batching process a stage, one process a running batch, a Resource for the
replicas. Holds are as in the ``fixed`` policy: send up to ``max_batch`` once so many wait or the oldest
has waited ``delay_ns``. Times are integer nanoseconds, so that completion times can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import simpy

from policies.runlog import Int64


@dataclass(frozen=True, slots=True)
class StageSetting:
    """A stage of the baseline."""

    replicas: int
    max_batch: int
    delay_ns: int
    service_ns: Callable[[int], int]


class BatchingStage:
    """A queue, its batching process and its replicas."""

    def __init__(self, env: simpy.Environment, setting: StageSetting) -> None:
        self.env = env
        self.setting = setting
        self.replicas = simpy.Resource(env, setting.replicas)
        self.waiting: list[tuple[int, simpy.Event]] = []
        self.entered = env.event()
        env.process(self._batches())

    def serve(self) -> simpy.Event:
        """Enter the queue; the event triggers when the request's batch is done."""
        done = self.env.event()
        self.waiting.append((int(self.env.now), done))
        if not self.entered.triggered:
            self.entered.succeed()
        return done

    def _batches(self) -> Generator[simpy.Event, None, None]:
        while True:
            replica = self.replicas.request()
            yield replica
            yield from self._await_entry()
            due_ns = self.waiting[0][0] + self.setting.delay_ns
            while len(self.waiting) < self.setting.max_batch and self.env.now < due_ns:
                self.entered = self.env.event()
                yield self.entered | self.env.timeout(due_ns - self.env.now)
            batch = self.waiting[: self.setting.max_batch]
            del self.waiting[: self.setting.max_batch]
            self.env.process(self._run(batch, replica))

    def _await_entry(self) -> Generator[simpy.Event, None, None]:
        while not self.waiting:
            self.entered = self.env.event()
            yield self.entered

    def _run(
        self, batch: list[tuple[int, simpy.Event]], replica: simpy.resources.resource.Request
    ) -> Generator[simpy.Event, None, None]:
        yield self.env.timeout(self.setting.service_ns(len(batch)))
        self.replicas.release(replica)
        for _, done in batch:
            done.succeed()


def run(arrival_ns: Int64, settings: Sequence[StageSetting]) -> list[int]:
    """Simulate; returns each request's completion time in nanoseconds, by arrival."""
    env = simpy.Environment()
    stages = [BatchingStage(env, setting) for setting in settings]
    completed_ns = [0] * len(arrival_ns)

    def request(number: int) -> Generator[simpy.Event, None, None]:
        for stage in stages:
            yield stage.serve()
        completed_ns[number] = int(env.now)

    def arrivals() -> Generator[simpy.Event, None, None]:
        now_ns = 0
        for number, at_ns in enumerate(arrival_ns.tolist()):
            yield env.timeout(at_ns - now_ns)
            now_ns = at_ns
            env.process(request(number))

    env.process(arrivals())
    env.run()
    return completed_ns
