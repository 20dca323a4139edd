"""The quantities that cadence plans with: what a pipeline's batches take, and how often they can go.

See :mod:`policies.cadence_plan` for what is made of them, and the sources.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from policies.pipeline import Pipeline, Stage

Z_99 = 2.33
"""Standard deviations below which 99% of a normal distribution lie."""
RARE = math.log(1000)
"""An exponential tail of one in a thousand."""
PACED = 0.8
"""Utilization for which the cap is planned. A pace that leaves more idle holds longer at light loads, where
the objective's remainder bounds it, and goes as fast as this one where batches fill up.
"""
FINE = 256
"""Batch sizes up to this are all tried, larger ones in steps of a sixteenth."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What batches queue for: ``servers`` at once, each for the service times of these stages.

    ``stages`` holds (index, share of the stage's batches that come here).
    """

    servers: int
    stages: tuple[tuple[int, float], ...]


def sizes_to(most: int) -> list[int]:
    """Batch sizes that are tried, from 1 to ``most``."""
    sizes = list(range(1, min(most, FINE) + 1))
    while sizes[-1] < most:
        sizes.append(min(sizes[-1] + sizes[-1] // 16, most))
    return sizes


class Model:
    """The quantities S, T and u of a pipeline; times in nanoseconds, sizes in requests."""

    def __init__(self, pipeline: Pipeline, cvs: Sequence[float]) -> None:
        self.stages = pipeline.stages
        self.cvs = cvs
        self.resources = _resources(pipeline)
        self._on_device = [
            {k for k, _ in each.stages} for each in self.resources if len(each.stages) > 1
        ]
        names = [stage.name for stage in self.stages]
        self.parents = [[names.index(parent) for parent in s.parents] for s in self.stages]

    def path_ns(self, size: int) -> float:
        """Mean service times along the longest path."""
        return self._longest([batch_ns(stage, size) for stage in self.stages])

    def served_ns(self, size: int) -> float:
        """S: what 99% of the batches are served within, if none waits."""
        spread = [
            (cv * batch_ns(stage, size)) ** 2
            for stage, cv in zip(self.stages, self.cvs, strict=True)
        ]
        return self.path_ns(size) + Z_99 * math.sqrt(self._longest(spread))

    def interval_ns(self, size: int) -> tuple[float, int]:
        """T, and how many servers the bottleneck has; the fewest of those that take as long."""
        intervals = []
        for each in self.resources:
            busy_ns = sum(share * work_ns(self.stages[k], size) for k, share in each.stages)
            intervals.append((busy_ns / each.servers, -each.servers))
        interval_ns, minus_servers = max(intervals)
        return interval_ns, -minus_servers

    def paced_ns(self, size: int, stages: Collection[int]) -> float:
        """As T, over those resources of the stages that have several servers: a single one spaces batches
        itself. 0 where there is none.
        """
        return max(
            (
                sum(share * work_ns(self.stages[k], size) for k, share in each.stages)
                / each.servers
                for each in self.resources
                if each.servers > 1 and any(k in stages for k, _ in each.stages)
            ),
            default=0.0,
        )

    def rate_hz(self, size: int, objective_ns: int, dispersion: float) -> float:
        """The highest rate that a cap of ``size`` bears; 0 where it cannot meet the objective."""
        interval_ns, _ = self.interval_ns(size)
        slack_ns = objective_ns - self.served_ns(size)
        if interval_ns <= 0 or slack_ns <= interval_ns / PACED:
            return 0.0
        ahead = RARE * (dispersion + size * max(self.cvs) ** 2) / 2
        root = 1 - 4 * ahead / slack_ns * interval_ns / size
        # Below half the bottleneck's rate queues do not set the limit.
        busiest = (1 + math.sqrt(root)) / 2 if root > 0 else 0.5
        return busiest * size / interval_ns * 1e9

    def _longest(self, times: Sequence[float]) -> float:
        """Along the graph. Branches that share a device overlap, or wait for one another where others use
        it too: halfway between.
        """
        side_by_side = self._path(times)
        in_turn = side_by_side
        for device in self._on_device:
            elsewhere = [0.0 if k in device else time for k, time in enumerate(times)]
            in_turn = max(in_turn, sum(times[k] for k in device) + self._path(elsewhere))
        return (side_by_side + in_turn) / 2

    def _path(self, times: Sequence[float]) -> float:
        ends: list[float] = []
        for k, time in enumerate(times):
            ends.append(time + max((ends[parent] for parent in self.parents[k]), default=0.0))
        return max(ends)


def batch_ns(stage: Stage, size: int) -> int:
    """Time of a batch of ``size`` requests, or of as many as a stage takes."""
    return stage.predict_ns(min(size, stage.max_batch))


def work_ns(stage: Stage, size: int) -> float:
    """Time of the batches that a stage makes of ``size`` requests."""
    return batch_ns(stage, size) * max(1.0, size / stage.max_batch)


def _resources(pipeline: Pipeline) -> list[Resource]:
    own = [Resource(stage.replicas, ((k, 1.0),)) for k, stage in enumerate(pipeline.stages)]
    shared = []
    for device in pipeline.devices:
        shares = [
            (k, stage.device.count(device.name) / len(stage.device))
            for k, stage in enumerate(pipeline.stages)
            if device.name in stage.device
        ]
        if shares:
            shared.append(Resource(device.slots, tuple(shares)))
    return own + shared
