"""Settings under a load by simulation: what share of the requests each answers within each objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from configs.errors import ConfigError
from configs.model import Config, ObjectiveConfig
from policies.contract import Policy
from policies.runlog import RunLog
from sim.backends.base import Backend
from sim.planning.problem import Settings
from sim.regimes.families import Spot, configured
from sim.simulate import simulate
from sim.tuning.evaluate import shared_workload

_PERCENTILE = 99.0


@dataclass(frozen=True, slots=True)
class Reached:
    """One run: the share of requests within each objective, p99 of all (infinite where too many have no
    answer), and the replica time that 1,000 answers took.
    """

    shares: tuple[float, ...]
    p99_ms: float
    busy_s_per_1000: float
    refused: str = ""
    """Why the settings cannot be had there, as a policy says that is fitted to its place; then no request
    is within any objective.
    """


Measure = Callable[[Config, RunLog, tuple[int, ...]], Reached]
"""Takes the figures of a run, for objectives in nanoseconds. Must be picklable."""
Told = Callable[[int], object]
"""Hears of simulations that are done."""


@dataclass(frozen=True, slots=True)
class Task:
    """One simulation. With an objective, policies are fitted to it; without, they know of none."""

    settings: Settings
    replication: int
    objective_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    config: Config
    replication: int
    objectives_ns: tuple[int, ...]


class Evaluator:
    """Simulates settings at one spot and remembers what came of it; all meet the same arrivals and the same
    noise, replication by replication (common random numbers).
    """

    def __init__(self, spot: Spot, measure: Measure, backend: Backend, told: Told) -> None:
        self.spot = spot
        self._reach = partial(_reached, measure)
        self._backend, self._told = backend, told
        self._known: dict[Task, Reached] = {}

    def run(self, tasks: Sequence[Task]) -> None:
        """Simulate those that are not known."""
        new = [task for task in dict.fromkeys(tasks) if task not in self._known]
        new.sort(key=lambda task: task.replication)  # so that each workload is drawn once
        runs = [self._run(task) for task in new]
        for task, found in zip(new, self._backend.map(self._reach, runs), strict=True):
            self._known[task] = found
            self._told(1)

    def reached(self, task: Task) -> Reached:
        """What came of a task that was run."""
        return self._known[task]

    def _run(self, task: Task) -> _Run:
        config = configured(self.spot.config, task.settings)
        if task.objective_ns is not None:
            asked = ObjectiveConfig(latency_ns=task.objective_ns, percentile=_PERCENTILE)
            config = replace(config, objective=asked)
        return _Run(config, task.replication, self.spot.objectives_ns)


def hangs_on_objective(config: Config, settings: Settings) -> bool:
    """Whether runs differ by the objective: a policy, or what admits requests, is fitted to it."""
    fitted = any(type(each.policy).planned is not Policy.planned for each in settings)
    return fitted or any(stage.admission is not None for stage in config.stages)


def _reached(measure: Measure, run: _Run) -> Reached:
    workload = shared_workload(run.config, run.replication)
    try:
        log = simulate(run.config, replication=run.replication, workload=workload)
    except ConfigError as error:
        return Reached((0.0,) * len(run.objectives_ns), math.inf, 0.0, str(error))
    return measure(run.config, log, run.objectives_ns)
