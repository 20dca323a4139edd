"""The figures of settings by simulation: many at a time, all under the same arrivals and noise."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock

from configs.model import Config, WorkloadConfig
from policies.workload import ClosedWorkload, Workload
from sim.backends.base import Backend
from sim.simulate import AnyWorkload, simulate, workload_of
from sim.tuning.score import Figures, Judge

_KEPT = 4
"""Workloads that a process keeps: those of the replications that its threads are at."""


@dataclass(frozen=True, slots=True)
class Task:
    """One simulation: a configuration, a replication, and how much of the run, from its start."""

    config: Config
    replication: int = 0
    part: int = 1
    """1 for the whole run, 4 for its first quarter."""


Told = Callable[[int], object]
"""Hears of simulations that are done."""


def unheard(_: int) -> None:
    """Nobody does."""


class Evaluator:
    """Simulates on a backend and takes the figures."""

    def __init__(self, judge: Judge, backend: Backend, told: Told = unheard) -> None:
        self._evaluate = partial(_evaluate, judge)
        self._backend = backend
        self._told = told

    def figures(self, tasks: Sequence[Task]) -> Iterator[Figures]:
        """The figures of each task, in order, each as soon as it and those before it are known."""
        for found in self._backend.map(self._evaluate, tasks):
            self._told(1)
            yield found


def _evaluate(judge: Judge, task: Task) -> Figures:
    workload = first_part(shared_workload(task.config, task.replication), task.part)
    log = simulate(task.config, replication=task.replication, workload=workload)
    return judge(task.config, log)


def first_part(workload: AnyWorkload, part: int) -> AnyWorkload:
    """The first ``1 / part`` of the requests, one at least; of a closed loop, one a client at least."""
    n = len(workload)
    if isinstance(workload, ClosedWorkload):
        n = max(-(-n // part), min(workload.clients, n))
        return replace(
            workload,
            think_ns=workload.think_ns[:n],
            items=workload.items[:n],
            priority=workload.priority[:n],
            keys=None if workload.keys is None else workload.keys[:n],
        )
    n = -(-n // part)
    return Workload(
        workload.arrival_ns[:n],
        workload.deadline_ns[:n],
        workload.items[:n],
        workload.priority[:n],
        None if workload.keys is None else workload.keys[:n],
    )


def shared_workload(config: Config, replication: int) -> AnyWorkload:
    """The workload of a replication, drawn once for all settings that leave it as it is."""
    return _DRAWN.get(config, replication)


@dataclass(frozen=True, slots=True)
class _Drawn:
    asked: WorkloadConfig
    seed: int
    replication: int
    workload: AnyWorkload

    def serves(self, config: Config, replication: int) -> bool:
        return (
            (self.seed, self.replication) == (config.seed, replication)
            # Settings that leave the workload alone have the very same part.
            and (self.asked is config.workload or self.asked == config.workload)
        )


class _Workloads:
    def __init__(self) -> None:
        self._kept: deque[_Drawn] = deque(maxlen=_KEPT)
        self._lock = Lock()

    def get(self, config: Config, replication: int) -> AnyWorkload:
        with self._lock:
            for drawn in self._kept:
                if drawn.serves(config, replication):
                    return drawn.workload
            workload = workload_of(config, replication)
            self._kept.append(_Drawn(config.workload, config.seed, replication, workload))
            return workload


_DRAWN = _Workloads()
"""Of this process: worker processes draw for themselves."""
