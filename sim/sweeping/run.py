"""The simulations of a sweep, on any backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Generic, TypeVar

from configs.checks import checked
from configs.knob_paths import with_knob
from configs.model import Config, WorkloadConfig
from policies.runlog import RunLog
from sim.backends.base import Backend
from sim.simulate import AnyWorkload, simulate, workload_of
from sim.sweeping.design import Setting

M = TypeVar("M")
_KEPT = 4
"""Workloads that a worker keeps; see :func:`grouped`."""

Task = tuple[Setting, int]
"""A value for each path, and the number of a replication."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[M]):
    """What became of one task: the measure of its run, or why there is none."""

    measure: M | None
    refused: str = ""


def swept(
    config: Config,
    paths: Sequence[str],
    tasks: Sequence[Task],
    measure: Callable[[Config, RunLog], M],
    backend: Backend,
) -> Iterator[Answer[M]]:
    """Simulate each task, with its values put in at ``paths``; the answers come in the tasks' order.

    All replications of one number meet the same arrivals and the same noise (common random numbers).
    ``measure`` is called where the run was made, and must be picklable.
    """
    base = replace(config, tune={})  # or every setting would be checked against its ranges
    return backend.map(partial(_answer, base, tuple(paths), measure), tasks)


def grouped(paths: Sequence[str], tasks: Sequence[Task]) -> list[Task]:
    """The tasks in an order in which those that share a workload follow each other, so that it is drawn
    once: by replication, then by the values of what changes the requests.
    """
    places = [k for k, path in enumerate(paths) if path.split(".")[0] in ("seed", "workload")]
    numbers: dict[Setting, int] = {}

    def order(task: Task) -> tuple[int, int]:
        setting, replication = task
        wanted = tuple(setting[k] for k in places)
        return replication, numbers.setdefault(wanted, len(numbers))

    return sorted(tasks, key=order)


def _answer(
    base: Config, paths: tuple[str, ...], measure: Callable[[Config, RunLog], M], task: Task
) -> Answer[M]:
    setting, replication = task
    config = base
    try:
        for path, value in zip(paths, setting, strict=True):
            config = with_knob(config, path, value)
        checked(config)
        workload = _workload(config, replication)
        log = simulate(config, replication=replication, workload=workload)
        return Answer(measure(config, log))
    except ValueError as error:  # what a configuration, a workload or a warm-up cannot be
        return Answer(None, " ".join(str(error).split()))


def _workload(config: Config, replication: int) -> AnyWorkload:
    try:
        return _drawn(_Wanted(config.workload, config.seed, replication, config))
    except TypeError:  # a kind that holds what has no hash
        return workload_of(config, replication)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """All that a workload depends on."""

    workload: WorkloadConfig
    seed: int
    replication: int
    config: Config = field(compare=False)


@lru_cache(_KEPT)
def _drawn(wanted: _Wanted) -> AnyWorkload:
    return workload_of(wanted.config, wanted.replication)
