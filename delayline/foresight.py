"""What one replica could do with a run's requests if it knew when each will come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from delayline.errors import CommandError
from policies.runlog import Int64
from sim.optimum.clairvoyant import fewest_late, least_latency
from sim.optimum.one_stage import OneStage, varies
from sim.simulate import workload_of


@dataclass(frozen=True, slots=True)
class Foresight:
    """Bounds for every policy, one for each replication, over all of its requests."""

    latency_s: tuple[float, ...]
    """The least mean latency."""
    late: tuple[float, ...]
    """The least share of requests beyond the objective; empty without one."""


def foresight(stage: OneStage) -> Foresight:
    """The bounds. Raises CommandError where foresight of arrivals alone is not enough, and TooLongError."""
    name = stage.config.name
    if stage.servers > 1:
        raise CommandError(
            f"--clairvoyant is known for one replica, and {name} has {stage.servers}; leave it out"
        )
    if varies(stage.model, stage.max_batch, stage.items):
        raise CommandError(
            f"--clairvoyant needs service times that follow from the batch alone, and those of {name} vary;"
            " leave it out, or give `service` without variation"
        )
    service_ns = service_times_ns(stage)
    asked = stage.config.objective
    latency_s, late = [], []
    for replication in range(stage.config.replications):
        arrival_ns: Int64 = workload_of(stage.config, replication).arrival_ns  # type: ignore[union-attr]
        latency_s.append(least_latency(arrival_ns, service_ns).mean / 1e9)
        if asked is not None:
            late.append(fewest_late(arrival_ns, service_ns, asked.latency_ns).mean)
    return Foresight(tuple(latency_s), tuple(late))


def service_times_ns(stage: OneStage) -> Int64:
    """(B + 1,): what batches of each size take, where they do not vary."""
    model = stage.model
    noise = float(model.draw(np.random.default_rng(0), 1)[0])
    times = [model.time_ns(noise, n, n * stage.items) for n in range(1, stage.max_batch + 1)]
    return np.array([0, *times], np.int64)
