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

A single server spaces batches itself: it is never idle while something waits, and to hold in front of it
only adds to the latency. The pace is that of resources with several servers alone. Where the bottleneck of
full batches is a single server, the tail above says too much, since a queue in front of it makes for larger
batches, and a queue that goes at once is gone no later than in parts. A cap is of use there for two
reasons. A size of which each request costs more, T(b) / b above the least of smaller ones, is not worth
forming. And at stages other than the bottleneck a batch may meet the one before, which is about to begin
or nearly done: the cap is the largest b with S(b) + 0.4 (S(b) - T(b)) <= objective.

On a chain, trains may be formed anew at later stages (see ``policies.cadence_trains``): where stages want
very different sizes this bears a higher rate by its own formulas, and is planned then.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass

from policies.cadence_model import Model, sizes_to
from policies.cadence_trains import divided
from policies.pipeline import Pipeline

MET = 0.4
"""Share of its time at stages other than a single server that a batch is taken to wait there. Of 0.3 to 0.8
the best but for 0.5, beyond which it soon falls, on 24 drawn pipelines of single servers.
"""
EQUAL = 1 + 1e-9
"""Costs a request that differ by less are those of rounding."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one stage is to do."""

    cap: int
    """Most requests of a batch; 0 for as many as the stage takes."""
    pace_ns: tuple[int, ...]
    """By size of a batch, the shortest time until the next; empty where batches are not held."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pipeline is to do, stage by stage."""

    stages: tuple[StagePlan, ...]
    rate_hz: float
    """The highest rate at which the objective should be met, by the formulas above; 0 where it is not
    predicted.
    """


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
    every = range(len(pipeline.stages))
    sizes = sizes_to(max(stage.max_batch for stage in pipeline.stages))
    if objective_ns is None:
        pace_ns = _paces_ns(model, sizes[-1], every, utilization)
        return Plan(_one_train(model, 0, pace_ns), 0.0)
    if model.path_ns(1) > objective_ns:
        raise ObjectiveError(objective_ns, model.path_ns(1))
    cap, rate_hz = _whole(model, objective_ns, sizes, dispersion)
    parts = divided(model, objective_ns, dispersion)
    if parts is None or parts.rate_hz <= rate_hz:
        return Plan(_one_train(model, cap, _paces_ns(model, cap, every, utilization)), rate_hz)
    stages: list[StagePlan] = []
    for first, after, size in parts.trains:
        pace_ns = _paces_ns(model, size, range(first, after), utilization)
        stages += [StagePlan(size, pace_ns if k == first else ()) for k in range(first, after)]
    return Plan(tuple(stages), parts.rate_hz)


def _whole(
    model: Model, objective_ns: int, sizes: list[int], dispersion: float
) -> tuple[int, float]:
    """The cap of a train through all stages, and the rate that it bears; 0 where that is not predicted."""
    fitting = [size for size in sizes if model.served_ns(size) <= objective_ns] or [1]
    rates = {size: model.rate_hz(size, objective_ns, dispersion) for size in fitting}
    cap = max(rates, key=lambda size: (rates[size], -size))
    _, servers = model.interval_ns(fitting[-1])
    if servers > 1 and rates[cap]:
        return cap, rates[cap]
    return _behind_one_server(model, objective_ns, fitting), rates[cap]


def _behind_one_server(model: Model, objective_ns: int, sizes: list[int]) -> int:
    """The cap where the bottleneck is a single server."""
    times = [(size, model.interval_ns(size)[0], model.served_ns(size)) for size in sizes]
    fitting = [(b, t / b) for b, t, s in times if s + MET * max(0.0, s - t) <= objective_ns]
    if not fitting:
        return 1
    least = min(each_ns for _, each_ns in fitting)
    return max(size for size, each_ns in fitting if each_ns <= least * EQUAL)


def _one_train(model: Model, cap: int, pace_ns: tuple[int, ...]) -> tuple[StagePlan, ...]:
    return tuple(StagePlan(cap, () if parents else pace_ns) for parents in model.parents)


def _paces_ns(
    model: Model, cap: int, stages: Collection[int], utilization: float
) -> tuple[int, ...]:
    """By size from 0 to ``cap``; none where only single servers serve."""
    if not model.paced_ns(cap, stages):
        return ()
    return (0, *(round(model.paced_ns(n, stages) / utilization) for n in range(1, cap + 1)))
