"""From the arrays of a finished run to its log, equal to the one that the scheduler keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.pipeline import Pipeline
from policies.runlog import (
    BatchLog,
    DeferredVisits,
    DeviceLog,
    Int8,
    Int32,
    Int64,
    Outcome,
    RequestLog,
    RunLog,
    SkipLog,
    StageLog,
    VisitLog,
)
from sim.compiled.layout import EXPIRED, FOREVER, FULL, GIVEN_UP, LATE, LEVEL_FULL, REFUSED, Board
from sim.compiled.prepare import Prepared

HELD = "held for ever: its policy set no time, and no request is to come"


def log_of(prepared: Prepared, info: dict[str, object]) -> RunLog:
    """The run as a value; visits are put together when they are first asked for."""
    board, pipeline = prepared.board, prepared.pipeline
    run = board.run[0]
    end_ns = int(run["now_ns"])
    left = _left(board)
    if run["ended"] < run["total"]:
        _give_up(board, left, end_ns)
    devices = [DeviceLog(device.name, device.slots) for device in pipeline.devices]
    replica_devices = _replica_devices(pipeline, devices)
    batches = [_batches(board, k, end_ns) for k in range(len(pipeline.stages))]
    visits = _Visits(pipeline, board, batches, left)
    stages = tuple(
        StageLog(
            name=spec.name,
            replicas=spec.replicas,
            replica_devices=replica_devices[k],
            max_batch=spec.max_batch,
            branch=spec.branch,
            parents=spec.parents,
            partial=spec.partial,
            skipped=_skipped(board, k) if spec.skips_at else None,
            batches=batches[k],
            visits=DeferredVisits(visits.of, k),
        )
        for k, spec in enumerate(pipeline.stages)
    )
    level = _level(board, batches, visits)
    for stage in stages:
        if stage.skipped is not None and len(stage.skipped.request):
            level = level if level.flags.writeable else level.copy()
            request = stage.skipped.request
            level[request] = np.maximum(level[request], stage.skipped.level)
    return RunLog(_requests(pipeline, board, level), stages, tuple(devices), end_ns, info)


def _left(board: Board) -> list[Int64]:
    """By stage, the requests that left its queue without being sent."""
    counts = board.stages["left_n"].tolist()
    return [board.left[k, :count].astype(np.int64) for k, count in enumerate(counts)]


def _skipped(board: Board, k: int) -> SkipLog:
    count = int(board.stages[k]["skipped_n"])
    return SkipLog(
        level=int(board.stages[k]["skips_at"] or board.stages[k]["passed_at"]),
        request=board.skipped[k, :count].astype(np.int64),
        at_ns=board.skipped_ns[k, :count].copy(),
    )


def _give_up(board: Board, left: list[Int64], end_ns: int) -> None:
    """Fail whatever still waits, stage by stage; mirrors ``Scheduler.close``."""
    waiting = [_waiting(board, k) for k in range(len(board.stages))]
    for k, here in enumerate(waiting):
        left[k] = np.concatenate([left[k], np.array(here, np.int64)])
        for request in here:
            if board.outcome[request]:
                continue
            board.outcome[request] = Outcome.FAILED
            board.why[request] = FOREVER * 64 + k
            board.moved_ns[request] = end_ns
            for other in range(k + 1, len(waiting)):
                if request in waiting[other]:
                    waiting[other].remove(request)
                    left[other] = np.append(left[other], request)


def _waiting(board: Board, k: int) -> list[int]:
    """Who is in a queue, in order of service."""
    row = board.stages[k]
    if not row["linked"]:
        places = range(row["head"], row["head"] + row["waiting"])
        return list(places) if row["implicit"] else board.sent[k, places].tolist()
    found = []
    request = int(row["head"])
    while request >= 0:
        found.append(request)
        request = int(board.links[0, row["link_at"] + request])
    return found


def _replica_devices(pipeline: Pipeline, devices: list[DeviceLog]) -> list[tuple[int, ...]]:
    """By stage; a replica that shares none gets a device of its own, added to ``devices``."""
    index = {device.name: at for at, device in enumerate(pipeline.devices)}
    found = []
    for spec in pipeline.stages:
        shared = tuple(index[name] for name in spec.device)
        own = range(len(devices), len(devices) + spec.replicas - len(shared))
        devices.extend(DeviceLog(f"{spec.name}/{replica}", 1) for replica in range(len(own)))
        found.append(shared or tuple(own))
    return found


def _batches(board: Board, k: int, end_ns: int) -> BatchLog:
    """One that still runs counts as finished at the end."""
    count = int(board.stages[k]["batches"])
    rows = board.batches[k, :count]
    dispatched_ns = np.ascontiguousarray(rows["dispatched_ns"])
    requests = rows["requests"].astype(np.int64)
    return BatchLog(
        batch=np.arange(count),
        replica=np.ascontiguousarray(rows["replica"]),
        dispatched_ns=dispatched_ns,
        started_ns=dispatched_ns,
        finished_ns=np.minimum(rows["finished_ns"], end_ns),
        requests=requests,
        items=requests if board.run[0]["unit_items"] else np.ascontiguousarray(rows["items"]),
        attempt=np.broadcast_to(np.int8(1), count),
        lost=np.broadcast_to(np.bool_(False), count),
        discarded=np.broadcast_to(np.bool_(False), count),
        level=board.graded[k, :count].copy() if board.stages[k]["levels_n"] else None,
    )


def _level(board: Board, batches: list[BatchLog], visits: _Visits) -> Int8:
    """By request, the highest level of its batches."""
    n = int(board.run[0]["cursor"])
    level: Int8 = np.broadcast_to(np.int8(0), n)
    for k, each in enumerate(batches):
        if each.level is not None and each.level.any():
            level = level if level.flags.writeable else level.copy()
            sent = visits.sent(k)
            level[sent] = np.maximum(level[sent], np.repeat(each.level, each.requests))
    return level


class _Visits:
    """Visits of a run, made of the order of dispatch, the batches, and who left early."""

    def __init__(
        self, pipeline: Pipeline, board: Board, batches: list[BatchLog], left: list[Int64]
    ) -> None:
        names = [stage.name for stage in pipeline.stages]
        self._parents = [
            [names.index(parent) for parent in stage.parents] for stage in pipeline.stages
        ]
        self._arrival_ns: Int64 = board.arrival_ns
        self._partial = {
            k: board.moved_ns[int(board.stages[k]["entered_at"]) :]
            for k, stage in enumerate(pipeline.stages)
            if stage.partial
        }
        """When requests entered the joins that do not wait for all, by request."""
        self._sent: Int32 = board.sent
        self._implicit: list[bool] = board.stages["implicit"].astype(bool).tolist()
        self._batches = batches
        self._left = left

    def of(self, k: int) -> VisitLog:
        """The visits of a stage."""
        sent = self.sent(k)
        left = self._left[k]
        request = np.concatenate([sent, left]) if len(left) else sent
        row = np.repeat(np.arange(len(self._batches[k].requests)), self._batches[k].requests)
        row = np.concatenate([row, np.full_like(left, -1)])
        return VisitLog(request=request, enqueued_ns=self._enqueued_ns(k, request), row=row)

    def sent(self, k: int) -> Int64:
        """The requests of a stage's batches, in order of dispatch."""
        count = int(self._batches[k].requests.sum())
        return np.arange(count) if self._implicit[k] else self._sent[k, :count].astype(np.int64)

    def _enqueued_ns(self, k: int, request: Int64) -> Int64:
        """A request enters when the last of the stages before is done with it, unless that is not waited
        for.
        """
        if not self._parents[k]:
            return self._arrival_ns[request]
        if k in self._partial:
            return self._partial[k][request]
        entered_ns = np.zeros(len(self._arrival_ns), np.int64)
        for parent in self._parents[k]:
            batches = self._batches[parent]
            done = self.sent(parent)
            done_ns = np.repeat(batches.finished_ns, batches.requests)
            entered_ns[done] = np.maximum(entered_ns[done], done_ns)
        return entered_ns[request]


def _requests(pipeline: Pipeline, board: Board, level: Int8) -> RequestLog:
    # Of a closed loop that was given up, some were never sent.
    n = int(board.run[0]["cursor"])
    outcome: NDArray[np.int8] = board.outcome[:n]
    dropped = np.flatnonzero(outcome > Outcome.COMPLETED).tolist()
    outcome[outcome == 0] = Outcome.COMPLETED
    return RequestLog(
        arrival_ns=board.arrival_ns[:n],
        deadline_ns=_full(board.deadline_ns, n),
        items=_full(board.items, n),
        ended_ns=board.moved_ns[:n],
        outcome=outcome,
        level=level,
        priority=board.priority[:n],
        reasons=_reasons(pipeline, dropped, board.why[dropped].tolist()),
        service_level=board.service_level[:n] if pipeline.chooses else None,
    )


def _full(column: Any, n: int) -> Int64:
    """A column by request; a single element stands for all of them."""
    return column[:n] if len(column) >= n else np.broadcast_to(column[0], n)


def _reasons(pipeline: Pipeline, dropped: list[int], why: list[int]) -> dict[int, str]:
    """Why each was dropped; the few texts that there are are made once."""
    texts = {code: _reason(pipeline, code) for code in set(why)}
    return dict(zip(dropped, map(texts.__getitem__, why), strict=True))


def _reason(pipeline: Pipeline, why: int) -> str:
    reason, k = divmod(why, 64)
    spec = pipeline.stages[k]
    return {
        FULL: f"the queue of {spec.name} was full ({spec.queue_bound} waiting)",
        LATE: f"its deadline had passed when it reached {spec.name}",
        EXPIRED: "its deadline passed in a queue",
        REFUSED: f"refused by the admission of {spec.name}",
        LEVEL_FULL: f"its priority level in the queue of {spec.name} was full",
        GIVEN_UP: f"shed by the policy of {spec.name}",
        FOREVER: f"{HELD}, waiting at {spec.name}",
    }[reason]
