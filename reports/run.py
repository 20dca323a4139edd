"""A run as reports see it: its log, and what it was asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.runlog import RunLog
from reports.metrics import Metrics, measure
from reports.quality import RunQuality


@dataclass(frozen=True, slots=True)
class Objective:
    """At ``percentile`` percent of the answers, latency is to be at most ``latency_ns``."""

    latency_ns: int
    percentile: float = 99.0


@dataclass(frozen=True, slots=True)
class Run:
    """A run with its name and circumstances; written and read by ``reports.records``."""

    name: str
    log: RunLog
    objective: Objective | None = None
    warmup_ns: int = 0
    config: Mapping[str, object] = field(default_factory=dict)
    """The configuration as it was loaded, JSON-able."""
    created: str = ""
    """When it was recorded, ISO 8601 in UTC; empty for a run that was not."""
    quality: RunQuality | None = None
    """What its lists are worth; None where the configuration names no quality table."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the packages that it ran on; empty for a run that was not recorded."""

    @property
    def real(self) -> bool:
        """Whether it ran under wall time; the driver says so by ``info["clock"] = "wall"``."""
        return self.log.info.get("clock") == "wall"

    def measure(self) -> Metrics:
        """Its metrics, with its own warm-up cut and objective."""
        objective_ns = None if self.objective is None else self.objective.latency_ns
        return measure(self.log, objective_ns=objective_ns, warmup_ns=self.warmup_ns)
