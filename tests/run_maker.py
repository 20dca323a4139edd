"""Run logs for the tests of reports: a small, plain simulation with losses, sheds and expiries."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from policies.contract import NEVER_NS
from policies.runlog import (
    BatchLog,
    DeviceLog,
    Int64,
    Outcome,
    RequestLog,
    RunLog,
    StageLog,
    VisitLog,
)


@dataclass
class MakerStage:
    """A stage to simulate; ``devices`` gives each replica's device by index."""

    name: str
    parents: tuple[str, ...] = ()
    devices: tuple[int, ...] = (0,)
    max_batch: int = 4
    hold_ns: int = 0
    service_ns: tuple[int, int] = (5, 15)
    queue_bound: int = 10**9
    branch: str = ""

    queue: list[tuple[int, int]] = field(default_factory=list)
    busy: dict[int, int] = field(default_factory=dict)
    up_at: dict[int, int] = field(default_factory=dict)
    retries: list[tuple[int, list[tuple[int, int]]]] = field(default_factory=list)
    batches: list[list[int]] = field(default_factory=list)
    rows_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    down: list[tuple[int, int, int]] = field(default_factory=list)
    numbers: int = 0


class Maker:
    """Serves greedily, or after ``hold_ns``; loses a share of the batches and retries them once."""

    def __init__(
        self,
        stages: Sequence[MakerStage],
        slots: Sequence[int],
        arrival_ns: Int64,
        *,
        seed: int = 0,
        deadline_after_ns: int | None = None,
        loss: float = 0.0,
    ) -> None:
        self.stages = list(stages)
        self.slots = list(slots)
        self.arrival_ns = arrival_ns
        self.rng = np.random.default_rng(seed)
        self.deadline_after_ns = deadline_after_ns
        self.loss = loss
        self.ended: dict[int, tuple[int, Outcome, str]] = {}
        self.done: dict[tuple[int, str], int] = {}
        self.events: list[tuple[int, int, int, int]] = []

    def run(self) -> RunLog:
        for request, at in enumerate(self.arrival_ns.tolist()):
            heapq.heappush(self.events, (at, 1, request, 0))
        now = 0
        while self.events:
            now = self.events[0][0]
            while self.events and self.events[0][0] == now:
                _, kind, first, second = heapq.heappop(self.events)
                if kind == 0:
                    self._finish(now, first, second)
                elif kind == 1:
                    for stage in self.stages:
                        if not stage.parents:
                            self._enter(now, stage, first)
            for index in reversed(range(len(self.stages))):
                self._serve(now, index)
        return self._log(now)

    def _enter(self, now: int, stage: MakerStage, request: int) -> None:
        if request in self.ended:
            return
        if len(stage.queue) >= stage.queue_bound:
            self.ended[request] = (now, Outcome.SHED, "full")
            self._withdraw(request)
            return
        stage.queue.append((request, now))

    def _withdraw(self, request: int) -> None:
        for stage in self.stages:
            for entry in [entry for entry in stage.queue if entry[0] == request]:
                stage.queue.remove(entry)
                stage.rows_of[request] = (entry[1], -1)

    def _serve(self, now: int, index: int) -> None:
        stage = self.stages[index]
        if self.deadline_after_ns is not None:
            for request, _ in list(stage.queue):
                if now >= self.arrival_ns[request] + self.deadline_after_ns:
                    self.ended[request] = (now, Outcome.EXPIRED, "late")
                    self._withdraw(request)
        while stage.retries or stage.queue:
            replica = self._free_replica(now, stage)
            if replica is None:
                return
            if stage.retries:
                number, taken = stage.retries.pop(0)
                self._start(now, index, replica, number, taken, 2)
                continue
            until = stage.queue[0][1] + stage.hold_ns
            if len(stage.queue) < stage.max_batch and now < until:
                heapq.heappush(self.events, (until, 2, 0, 0))
                return
            taken = stage.queue[: stage.max_batch]
            del stage.queue[: stage.max_batch]
            stage.numbers += 1
            self._start(now, index, replica, stage.numbers - 1, taken, 1)

    def _free_replica(self, now: int, stage: MakerStage) -> int | None:
        for replica, device in enumerate(stage.devices):
            running = sum(
                sum(other.devices[each] == device for each in other.busy) for other in self.stages
            )
            up = stage.up_at.get(replica, 0) <= now
            if up and replica not in stage.busy and running < self.slots[device]:
                return replica
        return None

    def _start(
        self,
        now: int,
        index: int,
        replica: int,
        number: int,
        taken: list[tuple[int, int]],
        attempt: int,
    ) -> None:
        stage = self.stages[index]
        low, high = stage.service_ns
        lag = int(self.rng.integers(0, 3))
        finished = now + lag + int(self.rng.integers(low, high + 1))
        lost = bool(self.rng.random() < self.loss)
        row = len(stage.batches)
        size = len(taken)
        stage.batches.append(
            [number, replica, now, min(now + lag, finished), finished, size, size, attempt, lost]
        )
        for request, entered in taken:
            stage.rows_of[request] = (entered, row)
        stage.busy[replica] = row
        heapq.heappush(self.events, (finished, 0, index, row))

    def _finish(self, now: int, index: int, row: int) -> None:
        stage = self.stages[index]
        number, replica, *_, attempt, lost = stage.batches[row]
        del stage.busy[replica]
        taken = [(r, entered) for r, (entered, at) in stage.rows_of.items() if at == row]
        if lost:
            back = now + int(self.rng.integers(1, 20))
            stage.up_at[replica] = back
            stage.down.append((replica, now, back))
            heapq.heappush(self.events, (back, 2, 0, 0))
            if attempt == 1:
                stage.retries.append((number, taken))
                return
            for request, _ in taken:
                if request not in self.ended:
                    self.ended[request] = (now, Outcome.FAILED, "lost twice")
                    self._withdraw(request)
            return
        for request, _ in taken:
            self.done[request, stage.name] = now
            if all((request, each.name) in self.done for each in self.stages):
                self.ended[request] = (now, Outcome.COMPLETED, "")
            for child in self.stages:
                joined = all((request, parent) in self.done for parent in child.parents)
                if stage.name in child.parents and joined:
                    self._enter(now, child, request)

    def _log(self, end_ns: int) -> RunLog:
        count = len(self.arrival_ns)
        deadline = (
            np.full(count, NEVER_NS, np.int64)
            if self.deadline_after_ns is None
            else self.arrival_ns + self.deadline_after_ns
        )
        sizes = np.random.default_rng(count)
        requests = RequestLog(
            arrival_ns=self.arrival_ns,
            deadline_ns=deadline,
            items=sizes.integers(1, 50, count),
            ended_ns=np.array([self.ended[i][0] for i in range(count)], np.int64),
            outcome=np.array([self.ended[i][1] for i in range(count)], np.int8),
            level=np.zeros(count, np.int8),
            priority=sizes.integers(0, 3, count).astype(np.int8),
            reasons={i: self.ended[i][2] for i in range(count) if self.ended[i][2]},
        )
        devices = tuple(DeviceLog(f"dev{i}", slots) for i, slots in enumerate(self.slots))
        info: dict[str, object] = {"engine": "maker", "seed": 7}
        return RunLog(requests, tuple(map(stage_log, self.stages)), devices, end_ns, info)


def stage_log(stage: MakerStage) -> StageLog:
    """What the maker noted of a stage as a log."""
    table = np.array(stage.batches, np.int64).reshape(-1, 9).T
    visits = sorted(stage.rows_of.items(), key=lambda visit: (visit[1][1] < 0, visit[1][1]))
    return StageLog(
        name=stage.name,
        replicas=len(stage.devices),
        replica_devices=stage.devices,
        max_batch=stage.max_batch,
        branch=stage.branch,
        parents=stage.parents,
        batches=batch_log(*table),
        visits=VisitLog(
            request=np.array([request for request, _ in visits], np.int64),
            enqueued_ns=np.array([entered for _, (entered, _) in visits], np.int64),
            row=np.array([row for _, (_, row) in visits], np.int64),
        ),
        down=tuple(stage.down),
    )


def batch_log(
    batch: Int64,
    replica: Int64,
    dispatched: Int64,
    started: Int64,
    finished: Int64,
    requests: Int64,
    items: Int64,
    attempt: Int64,
    lost: Int64,
) -> BatchLog:
    """A batch log from plain columns."""
    return BatchLog(
        batch=batch,
        replica=replica.astype(np.int32),
        dispatched_ns=dispatched,
        started_ns=started,
        finished_ns=finished,
        requests=requests,
        items=items,
        attempt=attempt.astype(np.int8),
        lost=lost.astype(np.bool_),
        discarded=np.zeros(len(batch), np.bool_),
    )


def arrivals(seed: int, count: int, mean_gap_ns: float) -> Int64:
    """Poisson-like arrival times."""
    gaps = np.random.default_rng(seed).exponential(mean_gap_ns, count)
    return np.cumsum(gaps).astype(np.int64)


def chain(seed: int = 1, count: int = 300, *, scale: int = 1, hold_ns: int = 20) -> RunLog:
    """Three stages in a row, two of them on one shared device; times multiplied by ``scale``."""
    stages = [
        MakerStage(
            "recall", devices=(0,), hold_ns=hold_ns * scale, service_ns=_times(scale, 5, 10)
        ),
        MakerStage("rank", ("recall",), (1, 1), service_ns=_times(scale, 10, 30)),
        MakerStage("rerank", ("rank",), (1,), service_ns=_times(scale, 5, 9)),
    ]
    return Maker(stages, (1, 2), arrivals(seed, count, 8.0 * scale), seed=seed).run()


def diamond(seed: int = 1, count: int = 200, *, loss: float = 0.0, bound: int = 10**9) -> RunLog:
    """A fork into two branches and a join, with private and shared devices."""
    stages = [
        MakerStage("split", devices=(0, 1)),
        MakerStage("left", ("split",), (2,), hold_ns=15, branch="left", queue_bound=bound),
        MakerStage("right", ("split",), (2, 3), service_ns=(5, 60), branch="right"),
        MakerStage("join", ("left", "right"), (3, 0), hold_ns=5),
    ]
    deadline = 400 if bound < 10**9 else None
    maker = Maker(
        stages,
        (1, 1, 1, 2),
        arrivals(seed, count, 9.0),
        seed=seed,
        loss=loss,
        deadline_after_ns=deadline,
    )
    return maker.run()


def _times(scale: int, low: int, high: int) -> tuple[int, int]:
    return low * scale, high * scale
