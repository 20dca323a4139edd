"""The metrics of a run, computed from its log. What each one means is in ``reports.definitions``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import Int64, Outcome, RunLog, StageLog
from reports.freetime import contended, slots_taken
from reports.percentiles import NS_PER_S, Distribution
from reports.steps import overlap_ns
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

    def to_json(self) -> dict[str, object]:
        """The entry of ``stages`` in ``simulate --json``."""
        return {
            "batches": self.batches,
            "mean_batch": self.mean_batch,
            "utilization": self.utilization,
            "hold_ms": self.hold.to_json(_STAGE_STATISTICS),
            "queue_ms": self.queue.to_json(_STAGE_STATISTICS),
            "service_ms": self.service.to_json(_STAGE_STATISTICS),
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
class Cost:
    """What the run used and paid for, in seconds of a replica."""

    busy_seconds: float
    replica_seconds: float
    replica_seconds_per_1000: float | None


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
                "replica_seconds": self.cost.replica_seconds,
                "replica_seconds_per_1000": self.cost.replica_seconds_per_1000,
            },
        }


def measure(log: RunLog, *, objective_ns: int | None = None, warmup_ns: int = 0) -> Metrics:
    """All metrics of a run after a warm-up cut.

    ``objective_ns`` is the latency within which an answer counts for goodput. Raises ValueError for a
    warm-up that is negative or longer than the run.
    """
    if warmup_ns < 0 or warmup_ns > log.end_ns:
        raise ValueError(
            f"warmup must be between 0 and the length of the run ({log.end_ns / NS_PER_S:g} s), "
            f"not {warmup_ns / NS_PER_S:g} s; shorten it or send more requests"
        )
    counts = np.bincount(log.requests.outcome, minlength=len(Outcome))
    duration_s = (log.end_ns - warmup_ns) / NS_PER_S
    answered = (log.requests.outcome == Outcome.COMPLETED) & (log.requests.ended_ns >= warmup_ns)
    good = answered & _in_time(log, objective_ns)
    stages = tuple(_measure_stage(log, index, warmup_ns) for index in range(len(log.stages)))
    return Metrics(
        engine=str(log.info.get("engine", "unknown")),
        seed=_integer(log.info.get("seed")),
        arrived=len(log.requests),
        completed=int(counts[Outcome.COMPLETED]),
        shed=int(counts[Outcome.SHED]),
        expired=int(counts[Outcome.EXPIRED]),
        failed=int(counts[Outcome.FAILED]),
        pending=int(counts[Outcome.PENDING]),
        warmup_s=warmup_ns / NS_PER_S,
        objective_ms=None if objective_ns is None else objective_ns / 1e6,
        duration_s=duration_s,
        throughput_rps=_share(int(answered.sum()), duration_s),
        goodput_rps=_share(int(good.sum()), duration_s),
        latency=Distribution.of(latencies_ns(log, warmup_ns)),
        stages=stages,
        devices=_measure_devices(log, warmup_ns),
        cost=_measure_cost(stages, duration_s, int(answered.sum())),
    )


def latencies_ns(log: RunLog, warmup_ns: int = 0) -> Int64:
    """Latencies of the completed requests that arrived at or after the cut, in order of arrival."""
    counted = counted_requests(log, warmup_ns)
    return log.requests.ended_ns[counted] - log.requests.arrival_ns[counted]


def counted_requests(log: RunLog, warmup_ns: int = 0) -> NDArray[np.bool_]:
    """Which requests' latency counts: the completed ones that arrived at or after the cut."""
    counted: NDArray[np.bool_] = log.requests.outcome == Outcome.COMPLETED
    counted &= log.requests.arrival_ns >= warmup_ns
    return counted


def _in_time(log: RunLog, objective_ns: int | None) -> NDArray[np.bool_]:
    requests = log.requests
    if objective_ns is not None:
        good: NDArray[np.bool_] = requests.ended_ns - requests.arrival_ns <= objective_ns
    else:
        # A request without a deadline has NEVER_NS, which no answer is later than.
        good = requests.ended_ns <= requests.deadline_ns
    return good


def _measure_stage(log: RunLog, index: int, warmup_ns: int) -> StageMetrics:
    stage = log.stages[index]
    times = visit_times(log, index)
    counted = log.requests.arrival_ns[times.request] >= warmup_ns
    sizes = stage.batches.requests[stage.batches.dispatched_ns >= warmup_ns]
    size_counts = np.bincount(sizes)
    used_ns = busy_ns(stage, warmup_ns, log.end_ns)
    merge = merge_ns(log, index, warmup_ns)
    return StageMetrics(
        name=stage.name,
        replicas=stage.replicas,
        batches=len(sizes),
        mean_batch=_share(int(sizes.sum()), len(sizes)),
        batch_sizes=tuple((int(n), int(size_counts[n])) for n in np.flatnonzero(size_counts)),
        busy_s=used_ns / NS_PER_S,
        utilization=_share(used_ns, stage.replicas * (log.end_ns - warmup_ns)),
        hold=Distribution.of(times.hold_ns[counted]),
        queue=Distribution.of(times.queue_ns[counted]),
        service=Distribution.of(times.service_ns[counted]),
        merge=None if merge is None else Distribution.of(merge),
    )


def busy_ns(stage: StageLog, from_ns: int, to_ns: int) -> int:
    """Time that a stage's replicas spent on batches inside [from_ns, to_ns)."""
    return overlap_ns(stage.batches.dispatched_ns, stage.batches.finished_ns, from_ns, to_ns)


def _measure_devices(log: RunLog, warmup_ns: int) -> tuple[DeviceMetrics, ...]:
    found = []
    short = contended(log)
    for index, device in enumerate(log.devices):
        used_ns = overlap_ns(*slots_taken(log, index), warmup_ns, log.end_ns)
        share = _share(used_ns, device.slots * (log.end_ns - warmup_ns))
        found.append(DeviceMetrics(device.name, device.slots, share, index in short))
    return tuple(found)


def _measure_cost(stages: tuple[StageMetrics, ...], duration_s: float, completed: int) -> Cost:
    paid_s = sum(stage.replicas for stage in stages) * duration_s
    return Cost(
        busy_seconds=sum(stage.busy_s for stage in stages),
        replica_seconds=paid_s,
        replica_seconds_per_1000=_share(1000 * paid_s, completed),
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None
