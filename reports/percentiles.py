"""Means and percentiles of times: one definition for every number that is reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from policies.runlog import Int64

NS_PER_MS = 1e6
NS_PER_S = 1e9

_FIELDS = {
    "mean": "mean_ms",
    "p50": "p50_ms",
    "p90": "p90_ms",
    "p95": "p95_ms",
    "p99": "p99_ms",
    "p99.9": "p999_ms",
    "max": "max_ms",
}
STATISTICS = tuple(_FIELDS)
"""Names of the statistics, as they stand in JSON and in tables."""


def percentiles(values: Int64, percents: Sequence[float]) -> tuple[int, ...]:
    """The nearest-rank percentiles of ``values`` (n,): an observed value each, never interpolated.

    The p-th is the smallest value that at least p percent of all are at most: the one of rank
    ceil(p n / 100) in ascending order, computed on exact decimals (99.9 of 1000 is rank 999). Raises
    ValueError without values, or for a percent outside (0, 100].
    """
    count = len(values)
    if count == 0:
        raise ValueError("a percentile needs at least one value, not 0")
    ranks = [_rank(percent, count) for percent in percents]
    ordered = np.partition(values, sorted({rank - 1 for rank in ranks}))
    return tuple(int(ordered[rank - 1]) for rank in ranks)


def percentile(values: Int64, percent: float) -> int:
    """One nearest-rank percentile; see :func:`percentiles`."""
    return percentiles(values, (percent,))[0]


def _rank(percent: float, count: int) -> int:
    if not 0 < percent <= 100:
        raise ValueError(f"percentile must be above 0 and at most 100, not {percent:g}")
    return ceil(Fraction(str(percent)) * count / 100)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A sample of times in short, milliseconds; every statistic is None where the sample is empty."""

    count: int
    mean_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    max_ms: float | None = None

    @staticmethod
    def of(values_ns: Int64) -> Distribution:
        """The distribution of times (n,) in nanoseconds; the mean is arithmetic."""
        count = len(values_ns)
        if count == 0:
            return Distribution(0)
        ranked = percentiles(values_ns, (50, 90, 95, 99, 99.9, 100))
        return Distribution(
            count, float(values_ns.mean()) / NS_PER_MS, *(value / NS_PER_MS for value in ranked)
        )

    def get(self, statistic: str) -> float | None:
        """A statistic by its public name, one of :data:`STATISTICS`."""
        value: float | None = getattr(self, _FIELDS[statistic])
        return value

    def to_json(self, statistics: Sequence[str] = STATISTICS) -> dict[str, float | None]:
        """These statistics by name."""
        return {name: self.get(name) for name in statistics}

    @staticmethod
    def from_json(values: dict[str, float | None], count: int = 0) -> Distribution:
        """Back from :meth:`to_json`; a statistic that is not there is None."""
        return Distribution(count, **{_FIELDS[name]: value for name, value in values.items()})
