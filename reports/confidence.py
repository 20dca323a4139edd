"""How sure a measured figure is: confidence intervals over replications and by batch means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from policies.runlog import Int64


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its confidence interval [low, high]; both None where it has none."""

    value: float
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        """The three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies in the interval; False where there is none."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high


def over_replications(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The mean of independent replications, with Student's t interval.

    Without an interval where there is but one. Raises ValueError where there is none.
    """
    if not values:
        raise ValueError("an estimate needs at least one replication, not 0")
    center = float(np.mean(values))
    half = _half_width(values, confidence)
    return Estimate(center, *((None, None) if half is None else (center - half, center + half)))


def by_batch_means(
    values_ns: Int64,
    statistic: Callable[[Int64], float],
    *,
    confidence: float = 0.95,
    batches: int = 20,
    smallest: int = 100,
) -> Estimate | None:
    """A statistic of one run's autocorrelated values (n,), in their order in time.

    The run is cut into equal consecutive batches, long against the correlation; the batches'
    statistics are taken as independent (method of batch means, e.g. Law, "Simulation Modeling and
    Analysis", ch. 9). The estimate is that of the whole run, the interval that of the batches. Fewer
    batches are used where they would have under ``smallest`` values; there is no interval with less
    than five. None without values.
    """
    if len(values_ns) == 0:
        return None
    value = statistic(values_ns)
    batches = min(batches, len(values_ns) // smallest)
    if batches < 5:
        return Estimate(value, None, None)
    parts = [statistic(part) for part in np.array_split(values_ns, batches)]
    half = _half_width(parts, confidence)
    if half is None:
        return Estimate(value, None, None)
    return Estimate(value, value - half, value + half)


def _half_width(values: Sequence[float], confidence: float) -> float | None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence:g}")
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # slow to import, and most commands do not need it

    quantile = float(stdtrit(len(values) - 1, (1 + confidence) / 2))
    return quantile * float(np.std(values, ddof=1)) / sqrt(len(values))
