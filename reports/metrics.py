"""The metrics of a run, computed from its log. What each one means is in ``reports.definitions``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from policies.runlog import RunLog
from reports.freetime import contended, slots_taken
from reports.paths import missing_by_stage
from reports.percentiles import NS_PER_S, Distribution
from reports.steps import overlap_ns
from reports.totals import Cost, StageTotals, counted_batches, mean_level, share, totals
from reports.waits import merge_ns, visit_times

_STAGE_STATISTICS = ("mean", "p99")


@dataclass(frozen=True, slots=True)
class StageMetrics:
    """One stage."""

    name: str
    replicas: int
    batches: int
    mean_batch: float | None
    batch_sizes: tuple[tuple[int, int], ...]
    """(requests in a batch, how many such batches), ascending."""
    busy_s: float
    utilization: float | None
    hold: Distribution
    queue: Distribution
    service: Distribution
    merge: Distribution | None
    """None for a stage that joins nothing."""
    computed_share: float | None = None
    """None for a stage that does not coalesce."""
    missed_share: float | None = None
    """None for a stage without locality."""
    skipped_share: float | None = None
    """None for a stage that is never skipped."""
    missing_share: float | None = None
    """None for a stage whose result every join waits for."""
    mean_level: float | None = None
    """None for a stage that does not degrade."""

    def to_json(self) -> dict[str, object]:
        """The entry of ``stages`` in ``simulate --json``."""
        shares = {
            "computed_share": self.computed_share,
            "missed_share": self.missed_share,
            "skipped_share": self.skipped_share,
            "missing_share": self.missing_share,
            "mean_level": self.mean_level,
        }
        return {
            "batches": self.batches,
            "mean_batch": self.mean_batch,
            "utilization": self.utilization,
            "hold_ms": self.hold.to_json(_STAGE_STATISTICS),
            "queue_ms": self.queue.to_json(_STAGE_STATISTICS),
            "service_ms": self.service.to_json(_STAGE_STATISTICS),
            **{name: value for name, value in shares.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class DeviceMetrics:
    """One device, over all stages on it."""

    name: str
    slots: int
    utilization: float | None
    contended: bool
    """More replicas are bound to it than it has slots, so that they may wait for one another."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """A whole run; None stands for a metric without data."""

    engine: str
    seed: int | None
    arrived: int
    completed: int
    shed: int
    expired: int
    failed: int
    pending: int
    warmup_s: float
    objective_ms: float | None
    duration_s: float
    throughput_rps: float | None
    goodput_rps: float | None
    latency: Distribution
    stages: tuple[StageMetrics, ...]
    devices: tuple[DeviceMetrics, ...]
    cost: Cost
    level_shares: tuple[float, ...] | None = None
    """Shares of the answers at each degradation level; None where no stage degrades."""

    def to_json(self) -> dict[str, object]:
        """The object that ``simulate --json`` prints, but for ``wall_s``, which the caller adds."""
        return {
            "engine": self.engine,
            "seed": self.seed,
            "arrived": self.arrived,
            "completed": self.completed,
            "shed": self.shed,
            "expired": self.expired,
            "failed": self.failed,
            "duration_s": self.duration_s,
            "throughput_rps": self.throughput_rps,
            "goodput_rps": self.goodput_rps,
            "latency_ms": self.latency.to_json(),
            "stages": {stage.name: stage.to_json() for stage in self.stages},
            "cost": {
                "busy_seconds": self.cost.busy_seconds,
                "discarded_seconds": self.cost.discarded_seconds,
                "replica_seconds": self.cost.replica_seconds,
                "replica_seconds_per_1000": self.cost.replica_seconds_per_1000,
            },
            **self._levels(),
        }

    def _levels(self) -> dict[str, object]:
        """What is told of levels, where a stage degrades; the same keys whatever levels a run reached."""
        if self.level_shares is None:
            return {}
        return {
            "mean_level": mean_level(self.level_shares),
            "degraded_share": sum(self.level_shares[1:]) if self.level_shares else None,
        }


def measure(log: RunLog, *, objective_ns: int | None = None, warmup_ns: int = 0) -> Metrics:
    """All metrics of a run after a warm-up cut: its totals, and what its visits tell.

    ``objective_ns`` is the latency within which an answer counts for goodput. Raises ValueError for a
    warm-up that is negative or longer than the run.
    """
    whole = totals(log, objective_ns=objective_ns, warmup_ns=warmup_ns)
    shares = missing_by_stage(log, warmup_ns)
    return Metrics(
        engine=str(log.info.get("engine", "unknown")),
        seed=_integer(log.info.get("seed")),
        arrived=whole.arrived,
        completed=whole.completed,
        shed=whole.shed,
        expired=whole.expired,
        failed=whole.failed,
        pending=whole.pending,
        warmup_s=warmup_ns / NS_PER_S,
        objective_ms=None if objective_ns is None else objective_ns / 1e6,
        duration_s=whole.duration_s,
        throughput_rps=whole.throughput_rps,
        goodput_rps=whole.goodput_rps,
        latency=whole.latency,
        stages=tuple(
            replace(
                _measure_stage(log, index, stage, warmup_ns), missing_share=shares.get(stage.name)
            )
            for index, stage in enumerate(whole.stages)
        ),
        devices=_measure_devices(log, warmup_ns),
        cost=whole.cost,
        level_shares=whole.level_shares,
    )


def _measure_stage(log: RunLog, index: int, whole: StageTotals, warmup_ns: int) -> StageMetrics:
    times = visit_times(log, index)
    counted = log.requests.arrival_ns[times.request] >= warmup_ns
    batches = log.stages[index].batches
    sizes = np.bincount(batches.requests[counted_batches(batches, warmup_ns)])
    merge = merge_ns(log, index, warmup_ns)
    return StageMetrics(
        name=whole.name,
        replicas=whole.replicas,
        batches=whole.batches,
        mean_batch=whole.mean_batch,
        batch_sizes=tuple((int(n), int(sizes[n])) for n in np.flatnonzero(sizes)),
        busy_s=whole.busy_s,
        utilization=whole.utilization,
        hold=Distribution.of(times.hold_ns[counted]),
        queue=Distribution.of(times.queue_ns[counted]),
        service=Distribution.of(times.service_ns[counted]),
        merge=None if merge is None else Distribution.of(merge),
        computed_share=whole.computed_share,
        missed_share=whole.missed_share,
        skipped_share=whole.skipped_share,
        mean_level=whole.mean_level,
    )


def _measure_devices(log: RunLog, warmup_ns: int) -> tuple[DeviceMetrics, ...]:
    found = []
    short = contended(log)
    for index, device in enumerate(log.devices):
        used_ns = overlap_ns(*slots_taken(log, index), warmup_ns, log.end_ns)
        used = share(used_ns, device.slots * (log.end_ns - warmup_ns))
        found.append(DeviceMetrics(device.name, device.slots, used, index in short))
    return tuple(found)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None
