"""Runs side by side: every metric, how far each run lies from the first, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np

from policies.runlog import Int64
from reports.confidence import Estimate, by_batch_means
from reports.metrics import Metrics, StageMetrics
from reports.percentiles import NS_PER_MS, percentile
from reports.run import Run
from reports.totals import counted_requests, latencies_ns


@dataclass(frozen=True, slots=True)
class Row:
    """One metric over all runs; None where a run has no data for it."""

    metric: str
    unit: str
    better: int
    """-1 where lower is better, 1 where higher is, 0 where neither."""
    values: tuple[float | None, ...]
    intervals: tuple[Estimate | None, ...] = ()
    """95% confidence intervals, where the metric has any."""

    def difference(self, run: int) -> float | None:
        """Run ``run`` less the first."""
        first, other = self.values[0], self.values[run]
        return None if first is None or other is None else other - first

    def ratio(self, run: int) -> float | None:
        """Run ``run`` over the first; None where that is 0."""
        first, other = self.values[0], self.values[run]
        return None if first is None or other is None or first == 0 else other / first


@dataclass(frozen=True, slots=True)
class Paired:
    """Run ``run`` against the first, request by request, where both had the same arrivals.

    Over the requests that both completed after the warm-up cut; differences are other less first.
    """

    run: int
    requests: int
    mean_ms: Estimate
    median_ms: float
    faster: float
    """Share of the requests that were answered sooner than in the first run."""
    slower: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side; the first is the baseline."""

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    paired: tuple[Paired | None, ...]
    """For each run after the first; None where its arrivals differ."""

    def to_json(self) -> dict[str, object]:
        """The comparison as one object."""
        others = range(1, len(self.names))
        return {
            "runs": list(self.names),
            "metrics": [
                {
                    "metric": row.metric,
                    "unit": row.unit,
                    "values": list(row.values),
                    "intervals": [each and each.to_json() for each in row.intervals],
                    "differences": [row.difference(run) for run in others],
                    "ratios": [row.ratio(run) for run in others],
                }
                for row in self.rows
            ],
            "paired": [
                pair
                and {
                    "run": self.names[pair.run],
                    "requests": pair.requests,
                    "mean_ms": pair.mean_ms.to_json(),
                    "median_ms": pair.median_ms,
                    "faster": pair.faster,
                    "slower": pair.slower,
                }
                for pair in self.paired
            ],
        }


def compare(runs: Sequence[Run], confidence: float = 0.95) -> Comparison:
    """Lay runs side by side, the first as the baseline. Raises ValueError without one.

    Latencies carry intervals by batch means within each run.
    """
    if not runs:
        raise ValueError("a comparison needs at least one run, not 0")
    metrics = [run.measure() for run in runs]
    rows = [*_latency_rows(runs, metrics, confidence), *_run_rows(metrics), *_stage_rows(metrics)]
    return Comparison(
        names=tuple(run.name for run in runs),
        rows=tuple(rows),
        paired=tuple(_pair(runs, index, confidence) for index in range(1, len(runs))),
    )


def _latency_rows(runs: Sequence[Run], metrics: Sequence[Metrics], confidence: float) -> list[Row]:
    latencies = [latencies_ns(run.log, run.warmup_ns) for run in runs]
    statistics: list[tuple[str, Callable[[Int64], float], int]] = [("mean", _mean_ms, 100)]
    for percent in (50, 90, 95, 99, 99.9):
        # A batch must have some values beyond a percentile, or it says nothing of it.
        smallest = max(100, ceil(10 / (1 - percent / 100)))
        statistics.append((f"p{percent:g}", partial(_percentile_ms, percent=percent), smallest))
    rows = [
        Row(
            f"latency {name}",
            "ms",
            -1,
            tuple(each.latency.get(name) for each in metrics),
            tuple(
                by_batch_means(values, statistic, confidence=confidence, smallest=smallest)
                for values in latencies
            ),
        )
        for name, statistic, smallest in statistics
    ]
    return [*rows, Row("latency max", "ms", -1, tuple(each.latency.max_ms for each in metrics))]


def _mean_ms(values_ns: Int64) -> float:
    return float(values_ns.mean()) / NS_PER_MS


def _percentile_ms(values_ns: Int64, percent: float) -> float:
    return percentile(values_ns, percent) / NS_PER_MS


def _run_rows(metrics: Sequence[Metrics]) -> list[Row]:
    dropped = [each.shed + each.expired + each.failed for each in metrics]
    return [
        Row("requests", "", 0, tuple(each.arrived for each in metrics)),
        Row("not answered", "", -1, tuple(dropped)),
        Row("throughput", "/s", 1, tuple(each.throughput_rps for each in metrics)),
        Row("goodput", "/s", 1, tuple(each.goodput_rps for each in metrics)),
        Row("busy", "s", -1, tuple(each.cost.busy_seconds for each in metrics)),
        Row(
            "replica-seconds per 1,000",
            "s",
            -1,
            tuple(each.cost.replica_seconds_per_1000 for each in metrics),
        ),
    ]


_STAGE_ROWS: tuple[tuple[str, str, int, Callable[[StageMetrics], float | None]], ...] = (
    ("mean batch", "", 0, lambda stage: stage.mean_batch),
    ("utilization", "", 0, lambda stage: stage.utilization),
    ("mean hold", "ms", 0, lambda stage: stage.hold.mean_ms),
    ("mean queue", "ms", -1, lambda stage: stage.queue.mean_ms),
    ("mean service", "ms", -1, lambda stage: stage.service.mean_ms),
)


def _stage_rows(metrics: Sequence[Metrics]) -> list[Row]:
    """Stages by name, in the order of the first run that has them."""
    names = dict.fromkeys(stage.name for each in metrics for stage in each.stages)
    return [
        Row(
            f"{name}: {metric}",
            unit,
            better,
            tuple(_of_stage(each, name, value) for each in metrics),
        )
        for name in names
        for metric, unit, better, value in _STAGE_ROWS
    ]


def _of_stage(
    metrics: Metrics, name: str, value: Callable[[StageMetrics], float | None]
) -> float | None:
    return next((value(stage) for stage in metrics.stages if stage.name == name), None)


def _pair(runs: Sequence[Run], index: int, confidence: float) -> Paired | None:
    base, other = runs[0], runs[index]
    mine, theirs = base.log.requests, other.log.requests
    same = np.array_equal(mine.arrival_ns, theirs.arrival_ns)
    if not (same and np.array_equal(mine.items, theirs.items)):
        return None
    both = counted_requests(base.log, base.warmup_ns) & counted_requests(other.log, other.warmup_ns)
    difference = (theirs.ended_ns - mine.ended_ns)[both]
    mean = by_batch_means(difference, _mean_ms, confidence=confidence)
    if mean is None:
        return None
    return Paired(
        run=index,
        requests=len(difference),
        mean_ms=mean,
        median_ms=_percentile_ms(difference, 50),
        faster=float((difference < 0).mean()),
        slower=float((difference > 0).mean()),
    )
