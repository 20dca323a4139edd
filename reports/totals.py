"""What a run amounts to as a whole: all that can be told without looking at each visit of each request.

Computed from the columns of requests and the batches alone, in a few milliseconds for a million
requests, so that a thousand runs of a sweep or a search can be measured as one is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import BatchLog, Int64, Outcome, RunLog, SkipLog, StageLog
from reports.late import late_s
from reports.percentiles import NS_PER_S, Distribution
from reports.steps import overlap_ns


@dataclass(frozen=True, slots=True)
class StageTotals:
    """One stage."""

    name: str
    replicas: int
    batches: int
    mean_batch: float | None
    busy_s: float
    discarded_s: float
    off_s: float
    """Time in which replicas were not there, summed over them: nobody paid for it."""
    utilization: float | None
    computed_share: float | None
    missed_share: float | None
    skipped_share: float | None
    mean_level: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What the run used and paid for, in seconds of a replica."""

    busy_seconds: float
    """Replica time that was used."""
    busy_seconds_per_1000: float | None
    """The same for a thousand answers."""
    discarded_seconds: float
    """The part of it that went into batches whose other copy was first, or that joins did not wait for."""
    replica_seconds: float
    replica_seconds_per_1000: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """A whole run; None stands for a metric without data. See ``reports.definitions``."""

    arrived: int
    completed: int
    shed: int
    expired: int
    failed: int
    pending: int
    duration_s: float
    throughput_rps: float | None
    goodput_rps: float | None
    latency: Distribution
    stages: tuple[StageTotals, ...]
    cost: Cost
    level_shares: tuple[float, ...] | None = None
    """Shares of the answers at each degradation level; None where no stage degrades."""

    @property
    def mean_level(self) -> float | None:
        """Mean level of the answers; None where no stage degrades, or nothing was answered."""
        return mean_level(self.level_shares)


def mean_level(shares: tuple[float, ...] | None) -> float | None:
    """The mean of levels that have these shares; None where there are none."""
    return sum(level * each for level, each in enumerate(shares)) if shares else None


def totals(log: RunLog, *, objective_ns: int | None = None, warmup_ns: int = 0) -> Totals:
    """The totals of a run after a warm-up cut.

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
    answers = int(np.count_nonzero(answered))
    good = answered & _in_time(log, objective_ns)
    stages = tuple(_stage(stage, warmup_ns, log.end_ns) for stage in log.stages)
    return Totals(
        arrived=len(log.requests),
        completed=int(counts[Outcome.COMPLETED]),
        shed=int(counts[Outcome.SHED]),
        expired=int(counts[Outcome.EXPIRED]),
        failed=int(counts[Outcome.FAILED]),
        pending=int(counts[Outcome.PENDING]),
        duration_s=duration_s,
        throughput_rps=share(answers, duration_s),
        goodput_rps=share(int(np.count_nonzero(good)), duration_s),
        latency=Distribution.of(latencies_ns(log, warmup_ns)),
        stages=stages,
        cost=_cost(stages, duration_s, answers, late_s(log, warmup_ns)),
        level_shares=level_shares(log, warmup_ns),
    )


def level_shares(log: RunLog, warmup_ns: int = 0) -> tuple[float, ...] | None:
    """Of the requests whose latency counts, the share at each level up to the highest that there was; None
    where no stage degrades.
    """
    if all(stage.batches.level is None for stage in log.stages):
        return None
    counts = np.bincount(log.requests.level[counted_requests(log, warmup_ns)])
    return tuple((counts / max(int(counts.sum()), 1)).tolist())


def latencies_ns(log: RunLog, warmup_ns: int = 0) -> Int64:
    """Latencies of the completed requests that arrived at or after the cut, in order of arrival."""
    counted = counted_requests(log, warmup_ns)
    took_ns: Int64 = log.requests.ended_ns - log.requests.arrival_ns
    return took_ns if counted.all() else took_ns[counted]


def counted_requests(log: RunLog, warmup_ns: int = 0) -> NDArray[np.bool_]:
    """Which requests' latency counts: the completed ones that arrived at or after the cut."""
    counted: NDArray[np.bool_] = log.requests.outcome == Outcome.COMPLETED
    counted &= log.requests.arrival_ns >= warmup_ns
    return counted


def share(part: float, whole: float) -> float | None:
    """A part of the whole; None where there is no whole."""
    return part / whole if whole > 0 else None


def _in_time(log: RunLog, objective_ns: int | None) -> NDArray[np.bool_]:
    requests = log.requests
    if objective_ns is not None:
        good: NDArray[np.bool_] = requests.ended_ns - requests.arrival_ns <= objective_ns
    else:
        # A request without a deadline has NEVER_NS, which no answer is later than.
        good = requests.ended_ns <= requests.deadline_ns
    return good


def _stage(stage: StageLog, warmup_ns: int, end_ns: int) -> StageTotals:
    batches = stage.batches
    sizes = batches.requests[counted_batches(batches, warmup_ns)]
    used_ns = overlap_ns(batches.dispatched_ns, batches.finished_ns, warmup_ns, end_ns)
    late = batches.dispatched_ns >= warmup_ns
    run = batches.requests if batches.computed is None else batches.computed
    discarded_ns = 0
    if batches.discarded.any():
        starts_ns = batches.dispatched_ns[batches.discarded]
        ends_ns = batches.finished_ns[batches.discarded]
        discarded_ns = overlap_ns(starts_ns, ends_ns, warmup_ns, end_ns)
    off_ns = overlap_ns(*off_spells(stage), warmup_ns, end_ns)
    return StageTotals(
        name=stage.name,
        replicas=stage.replicas,
        batches=len(sizes),
        mean_batch=share(int(sizes.sum()), len(sizes)),
        busy_s=used_ns / NS_PER_S,
        discarded_s=discarded_ns / NS_PER_S,
        off_s=off_ns / NS_PER_S,
        utilization=share(used_ns, stage.replicas * (end_ns - warmup_ns) - off_ns),
        computed_share=_share_of(batches.computed, batches.requests, late),
        missed_share=_share_of(batches.missed, run, late),
        skipped_share=_skipped_share(stage, late, warmup_ns),
        mean_level=_mean_level(stage, late, warmup_ns),
    )


def off_spells(stage: StageLog) -> tuple[Int64, Int64]:
    """Starts and ends of the spells in which replicas were not there and not paid for."""
    spells = np.array(stage.off, np.int64).reshape(-1, 3)
    return spells[:, 1], spells[:, 2]


def counted_batches(batches: BatchLog, warmup_ns: int) -> NDArray[np.bool_]:
    """Which batches count: those sent at or after the cut that ran anything."""
    counted: NDArray[np.bool_] = batches.dispatched_ns >= warmup_ns
    return counted if batches.computed is None else counted & (batches.computed > 0)


def _share_of(part: Int64 | None, whole: Int64, rows: NDArray[np.bool_]) -> float | None:
    if part is None:
        return None
    return share(int(part[rows].sum()), int(whole[rows].sum())) or 0.0


def _mean_level(stage: StageLog, rows: NDArray[np.bool_], warmup_ns: int) -> float | None:
    """Mean level of a stage's requests, a batch that was sent twice counting twice."""
    if stage.batches.level is None:
        return None
    requests = stage.batches.requests[rows]
    levels, count = int((stage.batches.level[rows] * requests).sum()), int(requests.sum())
    if stage.skipped is not None:
        skipped = _skipped(stage.skipped, warmup_ns)
        levels, count = levels + stage.skipped.level * skipped, count + skipped
    return share(levels, count)


def _skipped_share(stage: StageLog, rows: NDArray[np.bool_], warmup_ns: int) -> float | None:
    """Of the requests that left a stage's queue, by a batch or past it, the latter's share."""
    if stage.skipped is None:
        return None
    skipped = _skipped(stage.skipped, warmup_ns)
    return share(skipped, skipped + int(stage.batches.requests[rows].sum())) or 0.0


def _skipped(skipped: SkipLog, warmup_ns: int) -> int:
    return int(np.count_nonzero(skipped.at_ns >= warmup_ns))


def _cost(stages: tuple[StageTotals, ...], duration_s: float, answers: int, late_s: float) -> Cost:
    used_s = sum(stage.busy_s for stage in stages)
    paid_s = sum(stage.replicas for stage in stages) * duration_s
    paid_s -= sum(stage.off_s for stage in stages)
    return Cost(
        busy_seconds=used_s,
        busy_seconds_per_1000=share(1000 * used_s, answers),
        discarded_seconds=sum(stage.discarded_s for stage in stages) + late_s,
        replica_seconds=paid_s,
        replica_seconds_per_1000=share(1000 * paid_s, answers),
    )
