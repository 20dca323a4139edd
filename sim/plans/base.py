"""What a plan is: a way of serving a pipeline, made of its configuration for a load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from configs.model import Config, ObjectiveConfig, StageConfig
from policies.contract import Policy
from sim.plans.trials import Trials, Tried
from sim.service.base import ServiceModel
from sim.service.of_stage import model_of_stage


class NotApplicableError(ValueError):
    """A plan that a configuration does not allow; the text says why, and what it would need."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A pipeline under a load."""

    config: Config
    """Its arrivals are at the load's rate; it has an objective."""
    load: float
    """Share of the capacity."""
    trials: Trials
    candidates: int | None = None
    """How many candidates there are in all, for a plan that ranks every one; None where it is not told."""

    @property
    def objective(self) -> ObjectiveConfig:
        """What is to be reached."""
        if self.config.objective is None:
            raise ValueError("plans are compared by an objective; the configuration has none")
        return self.config.objective

    def best(self, configs: Sequence[Config]) -> Config:
        """The one that does best on the tuning replications: that meets the objective for the least busy
        time, or comes nearest to it; of equals the first.
        """
        tried = self.trials.of(configs)
        ranked = sorted(range(len(configs)), key=lambda place: self.order(tried[place]))
        return configs[ranked[0]]

    def order(self, tried: Tried) -> tuple[bool, float, float]:
        """Sorts what was tried, best first."""
        late = tried.within < self.objective.percentile / 100
        return late, -tried.within if late else tried.busy_s_per_1000, tried.p99_ms


class Plan(Protocol):
    """A plan. A frozen dataclass in a file of its own, entered in ``sim.plans.registry`` by a line."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def doc(self) -> str:
        """What it does, in a line."""
        ...

    @property
    def simulated_only(self) -> str:
        """Why it cannot be run for real; empty where it can."""
        ...

    @property
    def other_lists(self) -> bool:
        """Whether its lists are not the cascade's but the full model's, where all candidates are told."""
        ...

    def made(self, spot: Spot) -> Config:
        """The configuration as the plan serves it at this load. Raises NotApplicableError."""
        ...


def with_stages(config: Config, stages: Sequence[StageConfig]) -> Config:
    """The configuration with other stages; what was to be tuned of the old ones is left out."""
    return replace(config, stages=tuple(stages), tune={})


def with_policy(config: Config, policy: Policy) -> Config:
    """The configuration with one policy at all stages, which serve in full."""
    stages = [replace(each, policy=policy, levels=(), degrade=None) for each in config.stages]
    return with_stages(replace(config, levels=(), degrade=None), stages)


def cost_ns(config: Config, stage: StageConfig) -> float:
    """What a request costs at a stage, in a full batch."""
    items = config.workload.items
    mean_items = 1.0 if items is None else items.mean_items()
    full = stage.max_batch
    model: ServiceModel = model_of_stage(config, stage)
    return model.expected_ns(full, round(full * mean_items)) / full


def shares_of(config: Config, shares: Sequence[float]) -> list[int]:
    """Durations in nanoseconds: these shares of the objective, for each stage on the longest way."""
    parents = config.parents()
    depth: dict[str, int] = {}

    def deep(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max((deep(parent) for parent in parents[name]), default=0)
        return depth[name]

    deepest = max(map(deep, parents))
    latency_ns = config.objective.latency_ns if config.objective else 0
    return [max(1, round(share * latency_ns / deepest)) for share in shares]
