"""What happened over time: counts and means in equal bins of a run, as figures show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import Int64, RunLog, StageLog
from reports.freetime import contended, slots_taken
from reports.percentiles import NS_PER_S
from reports.steps import mean_level
from reports.totals import off_spells
from reports.waits import first_sent_ns, visit_times

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bins:
    """Equal bins of time; ``edges_ns`` is (b + 1,), columns over bins are (b,)."""

    edges_ns: Int64

    @staticmethod
    def over(log: RunLog, most: int = 120) -> Bins:
        """Bins over a whole run, few enough that each has some tens of requests."""
        count = max(1, min(most, len(log.requests) // 40))
        return Bins(np.linspace(0, max(log.end_ns, count), count + 1).astype(np.int64))

    @property
    def middle_s(self) -> Floats:
        """The middle of each bin."""
        return (self.edges_ns[1:] + self.edges_ns[:-1]) / (2 * NS_PER_S)

    @property
    def width_s(self) -> Floats:
        """The length of each bin."""
        return np.diff(self.edges_ns) / NS_PER_S

    def place(self, at_ns: Int64) -> Int64:
        """The bin of each instant; the end of the run belongs to the last one."""
        found: Int64 = np.searchsorted(self.edges_ns, at_ns, side="right") - 1
        return np.clip(found, 0, len(self.edges_ns) - 2)

    def counts(self, at_ns: Int64) -> Int64:
        """How many of the instants fall in each bin."""
        counts: Int64 = np.bincount(self.place(at_ns), minlength=len(self.edges_ns) - 1)
        return counts

    def means(self, at_ns: Int64, values: Int64 | Floats) -> Floats:
        """Mean of the values whose instants fall in each bin; NaN where none does."""
        counts = self.counts(at_ns)
        sums = np.bincount(self.place(at_ns), values, minlength=len(counts))
        means = np.full(len(counts), np.nan)
        np.divide(sums, counts, out=means, where=counts > 0)
        return means


@dataclass(frozen=True, slots=True)
class StageTimeline:
    """One stage over time, all columns (b,); NaN where nothing was sent."""

    name: str
    queue_length: Floats
    """Mean number of requests in the queue."""
    hold_ms: Floats
    """Mean hold of the requests sent in the bin."""
    queue_ms: Floats
    """Mean whole wait of the requests sent in the bin."""
    utilization: Floats
    """Share of the replicas that ran a batch, of those that are paid for."""
    replicas: Floats | None
    """Mean number of replicas that could run batches; None where they do not come and go."""
    paid: Floats | None
    """The same of those that are paid for, with those that are starting."""
    level: Floats | None
    """Mean level of the requests sent or skipped in the bin; None at a stage that does not degrade."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run over time."""

    bins: Bins
    arrival_rate_hz: Floats
    stages: tuple[StageTimeline, ...]
    devices: tuple[tuple[str, Floats], ...]
    """Name and share of slots in use, of the devices on which one can run short."""
    ndcg: Floats | None = None
    """Mean of the NDCG@10 that is predicted of the requests answered in the bin; None where nothing tells."""


def timeline(log: RunLog, most: int = 120, ndcg: Floats | None = None) -> Timeline:
    """A run in at most ``most`` bins; ``ndcg`` (requests,) is of each answer, NaN for the others."""
    bins = Bins.over(log, most)
    arrived = bins.counts(log.requests.arrival_ns) / bins.width_s
    stages = tuple(_stage(log, index, bins) for index in range(len(log.stages)))
    devices = tuple(
        (
            log.devices[index].name,
            mean_level(*slots_taken(log, index), bins.edges_ns) / log.devices[index].slots,
        )
        for index in contended(log)
    )
    return Timeline(bins, arrived, stages, devices, _quality(log, bins, ndcg))


def _quality(log: RunLog, bins: Bins, ndcg: Floats | None) -> Floats | None:
    if ndcg is None:
        return None
    known = np.isfinite(ndcg)
    return bins.means(log.requests.ended_ns[known], ndcg[known])


def _stage(log: RunLog, index: int, bins: Bins) -> StageTimeline:
    stage = log.stages[index]
    times = visit_times(log, index)
    visits = stage.visits.made()
    sent = visits.row >= 0
    row = visits.row[sent]
    left_ns = np.full(len(sent), log.end_ns, np.int64)
    left_ns[sent] = first_sent_ns(stage.batches)[row]
    # A request that was never sent left the queue when it ended, or waits still.
    ended = log.requests.ended_ns[visits.request]
    dropped = ~sent & (ended >= 0)
    left_ns[dropped] = ended[dropped]
    if stage.skipped is not None:
        skipped_ns = np.full(len(log.requests), -1, np.int64)
        skipped_ns[stage.skipped.request] = stage.skipped.at_ns
        skipped = ~sent & (skipped_ns[visits.request] >= 0)
        left_ns[skipped] = skipped_ns[visits.request[skipped]]
    busy = mean_level(stage.batches.dispatched_ns, stage.batches.finished_ns, bins.edges_ns)
    paid = stage.replicas - mean_level(*off_spells(stage), bins.edges_ns)
    down = np.array(stage.down, np.int64).reshape(-1, 3)
    up = stage.replicas - mean_level(down[:, 1], down[:, 2], bins.edges_ns)
    return StageTimeline(
        name=stage.name,
        queue_length=mean_level(visits.enqueued_ns, left_ns, bins.edges_ns),
        hold_ms=bins.means(times.dispatched_ns, times.hold_ns) / 1e6,
        queue_ms=bins.means(times.dispatched_ns, times.queue_ns) / 1e6,
        utilization=busy / paid,
        replicas=up if stage.off else None,
        paid=paid if stage.off else None,
        level=_levels(stage, row, bins),
    )


def _levels(stage: StageLog, row: Int64, bins: Bins) -> Floats | None:
    """Mean level by when requests left the queue; ``row`` are the batches of those that were sent."""
    if stage.batches.level is None:
        return None
    at_ns, level = stage.batches.dispatched_ns[row], stage.batches.level[row].astype(np.int64)
    if stage.skipped is not None:
        skipped = np.full(len(stage.skipped.at_ns), stage.skipped.level)
        at_ns = np.concatenate([at_ns, stage.skipped.at_ns])
        level = np.concatenate([level, skipped])
    return bins.means(at_ns, level)
