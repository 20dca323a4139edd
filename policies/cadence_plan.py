"""What :class:`~policies.cadence.Cadence` plans before a run: how large batches may get, how often they go.

All stages form one train: a batch that leaves a first stage goes through the others whole, so that its
latency is a wait W at the first stage, then the service times one after another. A *resource* is what
batches queue for: the R replicas of a stage, or the s slots of a device with all stages on it. With
l_k(b) the mean service time of stage k,

    S(b)  longest path of l_k(b), plus 2.33 standard deviations of the noise along it: what a batch is
          served within; branches on one device count as half side by side, half one after the other
    T(b)  greatest over the resources of l_k(b) / R, or of the sum over a device's stages l_k(b) / s:
          the shortest time between batches that the bottleneck bears
    u     rate * T(b) / b, the bottleneck's utilization

W is what a batch takes to form, T(b) / 0.8, or the time that the requests ahead take to go, whichever is
longer. The requests ahead are those of a queue that a server empties b at a time; in heavy traffic its
length N has an exponential tail (Kingman, "The single server queue in heavy traffic", 1961; with the
variance of the noise counted in requests, as in Whitt, "The queueing network analyzer", 1983):

    P(N > n) = exp(-2 (1 - u) n / (d + b cv^2))

where d is the dispersion of the arrivals: the variance of their number in a time over its mean, 1 for a
Poisson stream.

The cap is the b that lets the rate be highest subject to S(b) + W <= objective, with a tail of one in a
thousand: ten times rarer than an objective at p99 asks for, since the other nine parts go to what the
bound leaves out. Solving S(b) + N / rate = objective for the rate gives a quadratic.

Where the bottleneck is a single server, batches space themselves: it is never idle while something waits,
and to hold only adds to the latency. No batch is held there, and the cap is the largest b with S(b) <=
objective.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
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
class Plan:
    """What one pipeline is to do."""

    cap: int
    """Most requests of a batch at any stage; 0 for as many as a stage takes."""
    pace_ns: tuple[int, ...]
    """By size of a batch, the shortest time until the next; empty where batches are not held."""
    rate_hz: float
    """The highest rate at which the objective should be met, by the formulas above; 0 where it is not
    predicted.
    """


@dataclass(frozen=True, slots=True)
class Resource:
    """What batches queue for: ``servers`` at once, each for the service times of these stages.

    ``stages`` holds (index, share of the stage's batches that come here).
    """

    servers: int
    stages: tuple[tuple[int, float], ...]


class ObjectiveError(ValueError):
    """The objective is below what a single request takes."""

    def __init__(self, objective_ns: int, least_ns: float) -> None:
        self.objective_ns, self.least_ns = objective_ns, least_ns
        super().__init__(
            f"cadence cannot keep an objective of {objective_ns / 1e6:g} ms: a single request takes"
            f" {least_ns / 1e6:.4g} ms through the stages without any wait; raise the objective"
        )


@functools.lru_cache(maxsize=32)
def plan_for(
    pipeline: Pipeline,
    objective_ns: int | None,
    cvs: tuple[float, ...],
    utilization: float,
    dispersion: float,
) -> Plan:
    """The plan of a pipeline. ``cvs`` are coefficients of variation of the stages' service times.

    Raises ObjectiveError where even batches of one would be late.
    """
    model = Model(pipeline, cvs)
    sizes = _sizes(max(stage.max_batch for stage in pipeline.stages))
    if objective_ns is None:
        _, servers = model.interval_ns(sizes[-1])
        cap = sizes[-1] if servers > 1 else 0
        return Plan(0, _paces_ns(model, cap, utilization), 0.0)
    if model.path_ns(1) > objective_ns:
        raise ObjectiveError(objective_ns, model.path_ns(1))
    fitting = [size for size in sizes if model.served_ns(size) <= objective_ns] or [1]
    largest = max(fitting)
    if model.interval_ns(largest)[1] == 1:
        return Plan(largest, (), 0.0)
    rates = {size: model.rate_hz(size, objective_ns, dispersion) for size in fitting}
    cap = max(rates, key=lambda size: (rates[size], -size))
    if not rates[cap]:
        return Plan(largest, (), 0.0)
    return Plan(cap, _paces_ns(model, cap, utilization), rates[cap])


def _sizes(most: int) -> list[int]:
    sizes = list(range(1, min(most, FINE) + 1))
    while sizes[-1] < most:
        sizes.append(min(sizes[-1] + sizes[-1] // 16, most))
    return sizes


def _paces_ns(model: Model, cap: int, utilization: float) -> tuple[int, ...]:
    """By size from 0 to ``cap``; none for a cap of 0."""
    if not cap:
        return ()
    return (0, *(round(model.interval_ns(n)[0] / utilization) for n in range(1, cap + 1)))


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
        self._parents = [[names.index(parent) for parent in s.parents] for s in self.stages]

    def path_ns(self, size: int) -> float:
        """Mean service times along the longest path."""
        return self._longest([_batch_ns(stage, size) for stage in self.stages])

    def served_ns(self, size: int) -> float:
        """S: what 99% of the batches are served within, if none waits."""
        spread = [
            (cv * _batch_ns(stage, size)) ** 2
            for stage, cv in zip(self.stages, self.cvs, strict=True)
        ]
        return self.path_ns(size) + Z_99 * math.sqrt(self._longest(spread))

    def interval_ns(self, size: int) -> tuple[float, int]:
        """T, and how many servers the bottleneck has; the fewest of those that take as long."""
        intervals = []
        for each in self.resources:
            work_ns = sum(share * _work_ns(self.stages[k], size) for k, share in each.stages)
            intervals.append((work_ns / each.servers, -each.servers))
        interval_ns, minus_servers = max(intervals)
        return interval_ns, -minus_servers

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
            ends.append(time + max((ends[parent] for parent in self._parents[k]), default=0.0))
        return max(ends)


def _batch_ns(stage: Stage, size: int) -> int:
    return stage.predict_ns(min(size, stage.max_batch))


def _work_ns(stage: Stage, size: int) -> float:
    """Time of the batches that a stage makes of ``size`` requests."""
    return _batch_ns(stage, size) * max(1.0, size / stage.max_batch)


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
