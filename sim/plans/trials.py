"""Settings of a plan, tried by simulation at a load: all meet the same arrivals and the same noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from configs.errors import ConfigError
from configs.model import Config
from policies.runlog import RunLog
from sim.backends.base import Backend
from sim.simulate import simulate
from sim.tuning.confirm import CONFIRMING_FROM
from sim.tuning.evaluate import shared_workload

TUNING = range(CONFIRMING_FROM - 3, CONFIRMING_FROM)
"""Replications that settings are chosen on: none that they are compared on."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a setting."""

    within: float
    """Share of the requests that were answered within the objective; in the worst of the replications, so
    that nothing is chosen which meets it by luck.
    """
    p99_ms: float
    """Of all requests; infinite where too many have no answer."""
    busy_s_per_1000: float
    lost: float = 0.0
    """What of the quality is lost: as the quality table predicts, or else the share of results that a
    merge went on without.
    """


REFUSED = Tried(0.0, math.inf, math.inf, 1.0)
"""A setting that cannot be had, as a policy says that is fitted to its place."""

Measure = Callable[[Config, RunLog], Tried]
"""Takes the figures of a run. Must be picklable."""


class Trials:
    """Simulates, and remembers what came of it."""

    def __init__(
        self, measure: Measure, backend: Backend, told: Callable[[int], object] = lambda _: None
    ) -> None:
        self._run = partial(_tried, measure)
        self._backend, self._told = backend, told
        self._known: dict[str, Tried] = {}

    def of(self, configs: Sequence[Config]) -> list[Tried]:
        """What comes of each on the tuning replications."""
        keys = [repr(config) for config in configs]
        new = dict(zip(keys, configs, strict=True))
        new = {key: config for key, config in new.items() if key not in self._known}
        tasks = [(config, replication) for config in new.values() for replication in TUNING]
        found = iter(self._backend.map(self._run, tasks))
        for key in new:
            self._known[key] = _mean([next(found) for _ in TUNING])
            self._told(1)
        return [self._known[key] for key in keys]


def _tried(measure: Measure, task: tuple[Config, int]) -> Tried:
    config, replication = task
    workload = shared_workload(config, replication)
    try:
        return measure(config, simulate(config, replication=replication, workload=workload))
    except ConfigError:
        return REFUSED


def _mean(each: Sequence[Tried]) -> Tried:
    return Tried(
        min(one.within for one in each),
        fmean(one.p99_ms for one in each),
        fmean(one.busy_s_per_1000 for one in each),
        fmean(one.lost for one in each),
    )
