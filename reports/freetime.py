"""When a stage could have started a batch: the ground on which hold time is measured.

A stage is free at an instant if at least one of its replicas is up and runs no batch, and that
replica's device has a free slot. Waiting while the stage is free is holding; waiting otherwise is
waiting for a replica or a slot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import Int64, RunLog, StageLog
from reports.steps import accumulate, union

_BEFORE_NS = -1
"""An instant before every run, which starts at 0."""


@dataclass(frozen=True, slots=True)
class FreeTime:
    """A stage's free time as a running total.

    ``free[i]`` says whether the stage is free from ``times_ns[i]`` up to ``times_ns[i + 1]``;
    ``total_ns[i]`` is the free time between ``times_ns[0]`` and ``times_ns[i]``.
    """

    times_ns: Int64
    free: NDArray[np.bool_]
    total_ns: Int64

    def until(self, at_ns: Int64) -> Int64:
        """Free time F(t) up to each instant; F(b) - F(a) is the free time in [a, b)."""
        last = np.searchsorted(self.times_ns, at_ns, side="right") - 1
        # Times before the run's start never occur in a log; they count as the state before it.
        np.maximum(last, 0, out=last)
        total: Int64 = self.total_ns[last] + self.free[last] * (at_ns - self.times_ns[last])
        return total


def free_time(log: RunLog, stage: int) -> FreeTime:
    """The free time of stage number ``stage``, exact to the nanosecond.

    A replica is busy on [dispatched, finished) of each of its batches; a slot is taken on the same
    interval by any stage's batch on that device.
    """
    own = log.stages[stage]
    changes = [_device_changes(log, own, device) for device in sorted(set(own.replica_devices))]
    times = np.concatenate([part for part, _ in changes])
    steps = accumulate(times, np.concatenate([part for _, part in changes]))
    return running_total(steps.times_ns, steps.level > 0)


def idle_time(log: RunLog, stage: int) -> FreeTime:
    """The time in which a replica of stage number ``stage`` is up and runs nothing, whether or not its
    device has a free slot: what it has beyond :func:`free_time` is time in which slots alone are short.
    """
    own = log.stages[stage]
    parts = [_unavailable(own, device) for device in sorted(set(own.replica_devices))]
    starts, ends = (np.concatenate(side) for side in zip(*parts, strict=True))
    change = np.repeat([0, 1, -1], [1, len(starts), len(ends)])
    steps = accumulate(np.concatenate([[_BEFORE_NS], starts, ends]), change)
    return running_total(steps.times_ns, steps.level < own.replicas)


def running_total(times_ns: Int64, free: NDArray[np.bool_]) -> FreeTime:
    """The total of a state that holds from ``times_ns[i]`` up to ``times_ns[i + 1]`` where ``free[i]``."""
    changed = np.ones(len(free), np.bool_)
    np.not_equal(free[1:], free[:-1], out=changed[1:])
    times, free = times_ns[changed], free[changed]
    total = np.zeros(len(times), np.int64)
    np.cumsum(np.diff(times) * free[:-1], out=total[1:])
    return FreeTime(times, free, total)


def _device_changes(log: RunLog, own: StageLog, device: int) -> tuple[Int64, Int64]:
    """When a device begins (+1) and ceases (-1) to offer a free replica of the stage with a slot.

    The first entry is the state before the run.
    """
    away_from, away_to = _unavailable(own, device)
    taken_from, taken_to = slots_taken(log, device)
    times = np.concatenate([[_BEFORE_NS], away_from, away_to, taken_from, taken_to])
    away, taken = 2 * len(away_from), 2 * len(taken_from)
    change = np.zeros((len(times), 2), np.int64)
    change[1 : 1 + away // 2, 0] = 1
    change[1 + away // 2 : 1 + away, 0] = -1
    change[1 + away : 1 + away + taken // 2, 1] = 1
    change[1 + away + taken // 2 :, 1] = -1
    steps = accumulate(times, change)
    replicas_away, slots_in_use = steps.level.T
    offers = replicas_away < own.replica_devices.count(device)
    offers &= slots_in_use < log.devices[device].slots
    return steps.times_ns, np.diff(offers.astype(np.int64), prepend=0)


def _unavailable(own: StageLog, device: int) -> tuple[Int64, Int64]:
    """Intervals in which replicas of the stage on this device are busy or down, disjoint by replica."""
    on_device = np.array([number == device for number in own.replica_devices], np.bool_)
    spells = [spell for spell in own.down if on_device[spell[0]]]
    fragile = {replica for replica, _, _ in spells}
    batches = own.batches
    here = on_device[batches.replica]
    steady = here & ~np.isin(batches.replica, sorted(fragile))
    starts, ends = [batches.dispatched_ns[steady]], [batches.finished_ns[steady]]
    for replica in sorted(fragile):
        # A spell may begin before the loss is noticed, that is, while the batch still counts as running.
        mine = batches.replica == replica
        down = np.array([spell[1:] for spell in spells if spell[0] == replica], np.int64)
        start, end = union(
            np.concatenate([batches.dispatched_ns[mine], down[:, 0]]),
            np.concatenate([batches.finished_ns[mine], down[:, 1]]),
        )
        starts.append(start)
        ends.append(end)
    return np.concatenate(starts), np.concatenate(ends)


def contended(log: RunLog) -> list[int]:
    """Indices of the devices on which a slot can run short: more replicas are bound than have one."""
    bound = [device for stage in log.stages for device in stage.replica_devices]
    return [index for index, device in enumerate(log.devices) if bound.count(index) > device.slots]


def slots_taken(log: RunLog, device: int) -> tuple[Int64, Int64]:
    """Starts and ends of all batches, of whichever stage, on a device."""
    starts: list[Int64] = [np.zeros(0, np.int64)]
    ends: list[Int64] = [np.zeros(0, np.int64)]
    for stage in log.stages:
        if device not in stage.replica_devices:
            continue
        on_device = np.array([number == device for number in stage.replica_devices], np.bool_)
        here = on_device[stage.batches.replica]
        starts.append(stage.batches.dispatched_ns[here])
        ends.append(stage.batches.finished_ns[here])
    return np.concatenate(starts), np.concatenate(ends)
