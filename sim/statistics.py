"""How sure a simulated figure is: confidence intervals over independent replications."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval that covers the true value with probability ``level``."""

    estimate: float
    low: float
    high: float
    level: float

    @property
    def half_width(self) -> float:
        """Distance from the estimate to either end."""
        return (self.high - self.low) / 2

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent values, one a replication.

    Law, "Simulation Modeling and Analysis" (2015), equation 4.12. Raises ValueError for fewer than two
    values, or one that is not finite.
    """
    from scipy.special import stdtrit

    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs 2 replications or more, not {n}")
    found = np.asarray(values, float)
    if not np.isfinite(found).all():
        raise ValueError(f"an interval needs finite values, not {list(values)}")
    mean = float(found.mean())
    quantile = float(stdtrit(n - 1, (1 + level) / 2))
    half = quantile * float(found.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, level)


def paired_interval(
    treated: Sequence[float], control: Sequence[float], level: float = 0.95
) -> Interval:
    """Interval of the mean of ``treated - control``, replication by replication.

    With common random numbers the noise that both share cancels, and the interval is much narrower than
    the two taken apart. Law (2015), section 10.2.1. Raises ValueError for unequal lengths.
    """
    if len(treated) != len(control):
        raise ValueError(
            f"pairs need as many values on either side, not {len(treated)} and {len(control)}"
        )
    return mean_interval([a - b for a, b in zip(treated, control, strict=True)], level)


def batch_means_interval(series: ArrayLike, batches: int = 20, level: float = 0.95) -> Interval:
    """Interval of the mean of one long autocorrelated series, by the means of consecutive batches.

    Values left over at the front (up to ``batches`` - 1) are dropped. Law (2015), section 9.5.3. Raises
    ValueError for a series with fewer than two values a batch.
    """
    values = np.asarray(series, float)
    if batches < 2:
        raise ValueError(f"batches must be 2 or more, not {batches}")
    size = len(values) // batches
    if size < 2:
        raise ValueError(f"{batches} batches need {2 * batches} values or more, not {len(values)}")
    means = values[len(values) - size * batches :].reshape(batches, size).mean(axis=1)
    return mean_interval(means.tolist(), level)
