"""The latency of candidates by simulation: each once, many at a time, and no longer than it takes to tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from configs.model import Config
from policies.runlog import RunLog
from sim.backends.base import Backend
from sim.capacity import capacity_hz
from sim.planning.problem import Candidate, Planned
from sim.simulate import simulate

Measure = Callable[[Config, RunLog], float]
"""The latency of a run at the objective's percentile in milliseconds; infinite where too many requests
have no answer. Must be picklable.
"""
Told = Callable[[int, str], object]
"""Hears of simulations that are done, and what for."""


@dataclass(frozen=True, slots=True)
class Task:
    """One simulation of a candidate."""

    candidate: Candidate
    requests: int
    replication: int
    rate_hz: float | None = None
    """None: the rate that is planned for."""


@dataclass(frozen=True, slots=True)
class _Run:
    config: Config
    replication: int
    measure: Measure


def _latency_ms(run: _Run) -> float:
    return run.measure(run.config, simulate(run.config, replication=run.replication))


class Evaluator:
    """Simulates candidates on a backend and remembers what came of it.

    All meet the same arrivals and the same noise, replication by replication (common random numbers).
    """

    def __init__(
        self,
        planned: Planned,
        measure: Measure,
        backend: Backend,
        told: Told = lambda done, doing: None,
    ) -> None:
        self.planned = planned
        self.simulations = 0
        self.doing = ""
        """What the simulations are for, as ``told`` hears it."""
        self._measure = measure
        self._backend = backend
        self._told = told
        self._known: dict[Task, float] = {}

    def latencies_ms(self, tasks: Sequence[Task]) -> list[float]:
        """The latency of each task; infinite, and not simulated, where more comes than can be served."""
        new = [task for task in dict.fromkeys(tasks) if task not in self._known]
        runs: list[tuple[Task, _Run]] = []
        for task in new:
            config = self._config(task)
            rate_hz = self.planned.rate_hz if task.rate_hz is None else task.rate_hz
            if capacity_hz(config, self.planned.mean_items) <= rate_hz:
                self._known[task] = math.inf
            else:
                runs.append((task, _Run(config, task.replication, self._measure)))
        found = self._backend.map(_latency_ms, [run for _, run in runs])
        for (task, _), latency_ms in zip(runs, found, strict=True):
            self._known[task] = latency_ms
            self.simulations += 1
            self._told(1, self.doing)
        return [self._known[task] for task in tasks]

    def mean_ms(
        self,
        candidate: Candidate,
        requests: int,
        replications: int,
        rate_hz: float | None = None,
    ) -> float:
        """The mean over the first replications."""
        tasks = [Task(candidate, requests, number, rate_hz) for number in range(replications)]
        return fmean(self.latencies_ms(tasks))

    def _config(self, task: Task) -> Config:
        config = self.planned.config_of(task.candidate, task.rate_hz)
        return replace(config, workload=replace(config.workload, requests=task.requests))


@dataclass(frozen=True, slots=True)
class Rung:
    """A length of run, and how clear it must be to be believed."""

    requests: int
    replications: int
    margin: float
    """A latency beyond the objective by more than this factor ends it here."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Short runs first, to be rid of what is clearly too slow; the longest tell what meets an objective,
    since a short run may have missed the bursts.
    """

    rungs: tuple[Rung, ...]

    @staticmethod
    def of(requests: int) -> Ladder:
        """A tenth, a half, and all of ``requests``, the last four times over."""
        return Ladder(
            (
                Rung(max(requests // 10, 1), 1, 2.0),
                Rung(max(requests // 2, 1), 2, 1.15),
                Rung(requests, 4, 1.0),
            )
        )

    def climb(
        self, evaluator: Evaluator, candidate: Candidate, rate_hz: float | None = None
    ) -> float:
        """The latency of a candidate in milliseconds, as closely as is worth while."""
        goal_ms = evaluator.planned.objective_ms
        latency_ms = math.inf
        for rung in self.rungs:
            latency_ms = evaluator.mean_ms(candidate, rung.requests, rung.replications, rate_hz)
            if latency_ms > goal_ms * rung.margin:
                break
        return latency_ms
