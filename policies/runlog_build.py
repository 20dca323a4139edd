"""From the scheduler's diaries to a run log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from policies.pipeline import Pipeline
from policies.requests import RequestTable
from policies.runlog import (
    BatchLog,
    DeferredVisits,
    DeviceLog,
    Int8,
    Int64,
    Outcome,
    RequestLog,
    RunLog,
    StageLog,
    VisitLog,
)
from policies.stage_state import StageState

Spell = tuple[int, int, int]
"""(replica, from_ns, to_ns)"""


def build_log(
    pipeline: Pipeline,
    table: RequestTable,
    stages: Sequence[StageState],
    drops: Mapping[int, tuple[int, Outcome, str]],
    end_ns: int,
    info: dict[str, object],
    over: bool = False,
    service_level: Sequence[int] | None = None,
) -> RunLog:
    """The run so far as a value; requests that have not ended are PENDING.

    Of a run that is ``over`` the visits, the largest part by far, are put together when they are asked
    for.
    """

    def visits_of(index: int) -> VisitLog:
        return stages[index].journal.visits(arrival_ns, stages[index].queue.entries())

    arrival_ns = np.array(table.arrival_ns, np.int64)
    items = np.array(table.items, np.int64)
    devices = [DeviceLog(device.name, device.slots) for device in pipeline.devices]
    device_index = {device.name: index for index, device in enumerate(pipeline.devices)}
    done_ns = np.full(len(table), -1, np.int64)
    sinks_left = np.zeros(len(table), np.int64)
    level = np.zeros(len(table), np.int8)
    logs = []
    for stage in stages:
        visits = visits_of(stage.index)
        batches = stage.journal.batches(end_ns, visits, items)
        if stage.spec.keyed:
            batches = _with_keys(stage, batches, visits, items)
        if stage.degrading is not None:
            batches = replace(batches, level=np.array(stage.degrading.sent, np.int8))
            _note_level(batches, visits, level)
        skips_at = stage.spec.skips_at
        skipped = stage.journal.skips(skips_at) if skips_at else None
        if skipped is not None:
            level[skipped.request] = np.maximum(level[skipped.request], skipped.level)
        if not stage.children:
            sinks_left += 1
            _note_done(stage, batches, visits, done_ns, sinks_left)
        shared = tuple(device_index[name] for name in stage.spec.device)
        own = range(len(devices), len(devices) + stage.spec.replicas - len(shared))
        devices.extend(DeviceLog(f"{stage.spec.name}/{replica}", 1) for replica in range(len(own)))
        logs.append(
            StageLog(
                name=stage.spec.name,
                replicas=stage.spec.replicas,
                replica_devices=shared or tuple(own),
                max_batch=stage.spec.max_batch,
                branch=stage.spec.branch,
                parents=stage.spec.parents,
                batches=batches,
                visits=DeferredVisits(visits_of, stage.index) if over else visits,
                down=_spells(stage.down, end_ns),
                partial=stage.spec.partial,
                off=_spells(stage.scaling.spells if stage.scaling else (), end_ns),
                skipped=skipped,
            )
        )
    ended_ns = np.where(sinks_left == 0, done_ns, -1)
    outcome = np.where(sinks_left == 0, Outcome.COMPLETED, Outcome.PENDING).astype(np.int8)
    for request, (at_ns, how, _) in drops.items():
        ended_ns[request] = at_ns
        outcome[request] = how
    requests = RequestLog(
        arrival_ns=arrival_ns,
        deadline_ns=np.array(table.deadline_ns, np.int64),
        items=items,
        ended_ns=ended_ns,
        outcome=outcome,
        level=level,
        priority=np.array(table.priority, np.int8),
        reasons={request: reason for request, (_, _, reason) in drops.items()},
        keys=None if table.keys is None else np.array(table.keys, np.int64),
        service_level=None if service_level is None else np.array(service_level, np.int8),
    )
    return RunLog(requests, tuple(logs), tuple(devices), end_ns, info)


def _spells(spells: Sequence[Spell], end_ns: int) -> tuple[Spell, ...]:
    """The same, those that last still up to the end of the run."""
    return tuple((r, from_ns, end_ns if to_ns < 0 else to_ns) for r, from_ns, to_ns in spells)


def _with_keys(stage: StageState, batches: BatchLog, visits: VisitLog, items: Int64) -> BatchLog:
    """The batches with what requests of one key saved: those not run, keys not fetched."""
    if stage.caches is not None:
        batches = replace(batches, missed=np.array(stage.caches.missed, np.int64))
    if stage.spec.coalesce is None:
        return batches
    sent = visits.row >= 0
    row, request = visits.row[sent], visits.request[sent]
    _, key = np.unique(np.asarray(stage.keys, np.int64)[request], return_inverse=True)
    _, first = np.unique(row * (key.max(initial=0) + 1) + key, return_index=True)
    first = first[~np.isin(row[first], stage.journal.shared_rows)]
    computed = np.bincount(row[first], minlength=len(batches.batch)).astype(np.int64)
    total = np.zeros(len(batches.batch), np.int64)
    np.add.at(total, row[first], items[request[first]])
    return replace(
        batches,
        computed=stage.journal.in_both(computed),
        items=stage.journal.in_both(total),
    )


def _note_level(batches: BatchLog, visits: VisitLog, level: Int8) -> None:
    """Raise each request's level to that of its batch."""
    if batches.level is not None:
        sent = visits.row >= 0
        np.maximum.at(level, visits.request[sent], batches.level[visits.row[sent]])


def _note_done(
    stage: StageState, batches: BatchLog, visits: VisitLog, done_ns: Int64, sinks_left: Int64
) -> None:
    """Count off, per request, a sink that has finished it, and when."""
    over = stage.journal.over()
    sent = visits.row >= 0
    served = np.zeros(len(visits.row), np.bool_)
    served[sent] = over[visits.row[sent]]
    request = visits.request[served]
    np.maximum.at(done_ns, request, batches.finished_ns[visits.row[served]])
    sinks_left[request] -= 1
