"""What no plan can go below: replicas by throughput, latency by service times alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from configs.model import Config, StageConfig
from policies.pipeline import topological
from sim.capacity import least_s_per_request
from sim.planning.problem import NO_DEVICE, Allocation, Choice, Planned, Pool
from sim.service.base import ServiceModel
from sim.service.of_stage import model_of_stage

NS_PER_MS = 1e6
_GENEROUS = (3, 6)
"""Replicas at which more would change nothing: so many times the least, plus so many."""


def model_on(config: Config, stage: StageConfig, device: str) -> ServiceModel:
    """A stage's service model on a device."""
    return model_of_stage(config, stage, device)


def work(planned: Planned, pool: Pool, device: str) -> float:
    """Replicas that the planned rate keeps busy if every batch is of the size that suits it best.

    Erlang's offered load, in batches: rate times sum_k min_b(l_k(b) / b) over the pool's stages.
    """
    found_s = 0.0
    for name in pool.stages:
        stage = planned.config.stage(name)
        model = model_on(planned.config, stage, device)
        found_s += least_s_per_request(model, stage.max_batch, stage.max_items, planned.mean_items)
    return planned.rate_hz * found_s


def least_count(planned: Planned, pool: Pool, device: str) -> int:
    """The fewest that are not overloaded: more than :func:`work`, and 1 at least."""
    return math.floor(work(planned, pool, device) + 1e-9) + 1


def generous_count(least: int) -> int:
    """So many that nothing waits for one of them."""
    times, plus = _GENEROUS
    return times * least + plus


def alone_ms(planned: Planned, stage: str, device: str) -> float:
    """Mean service time of a request of mean size on its own."""
    model = model_on(planned.config, planned.config.stage(stage), device)
    return model.expected_ns(1, round(planned.mean_items)) / NS_PER_MS


def fastest(planned: Planned, pool: Pool) -> str:
    """The device on which requests on their own take the least time."""
    return min(pool.prices, key=lambda d: sum(alone_ms(planned, s, d) for s in pool.stages))


def generous(planned: Planned) -> Allocation:
    """The fastest devices, so many that nothing waits, within each pool's ``most``."""
    found = []
    for pool in planned.pools:
        device = fastest(planned, pool)
        count = generous_count(least_count(planned, pool, device))
        found.append(Choice(device, min(count, pool.most)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Path:
    """The slowest way through the stages for a request on its own, on the fastest devices."""

    stages: tuple[tuple[str, float], ...]
    """Names and mean service times in milliseconds, in order."""

    @property
    def total_ms(self) -> float:
        """The sum."""
        return math.fsum(ms for _, ms in self.stages)

    @property
    def longest(self) -> tuple[str, float]:
        """The stage that takes the largest part of it."""
        return max(self.stages, key=lambda each: each[1])


def critical_path(planned: Planned) -> Path:
    """See :class:`Path`: the longest path of the graph, weighted by mean service times."""
    device = {name: fastest(planned, pool) for pool in planned.pools for name in pool.stages}
    parents = planned.config.parents()
    longest: dict[str, Path] = {}
    for name in topological(parents):
        before = [longest[parent] for parent in parents[name]]
        head = max(before, key=lambda path: path.total_ms, default=Path(()))
        took_ms = alone_ms(planned, name, device.get(name, NO_DEVICE))
        longest[name] = Path((*head.stages, (name, took_ms)))
    return max(longest.values(), key=lambda path: path.total_ms)
