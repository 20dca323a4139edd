"""Renewal processes: independent gaps added up, the sum rounded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.random import Generator

from policies.runlog import Int64
from sim.arrivals.base import NS_PER_S, Float64, chunk_size, first_within

Gaps = Callable[[Generator, int], Float64]
"""Draws so many independent gaps of mean 1."""


def renewal_times_ns(
    rng: Generator, gaps: Gaps, rate_hz: float, requests: int | None, duration_ns: int | None
) -> Int64:
    """Arrivals with gaps of mean 1/rate; the first gap starts at 0."""
    size = chunk_size(rate_hz, requests, duration_ns)
    sums = cumulative(rng, gaps, size)
    per_gap_ns = NS_PER_S / rate_hz
    return first_within((chunk * per_gap_ns for chunk in sums), requests, duration_ns)


def cumulative(rng: Generator, gaps: Gaps, size: int) -> Iterator[Float64]:
    """Running sums of the gaps without end, ``size`` at a time; the sums do not depend on ``size``."""
    total = 0.0
    while True:
        # The total is added first, as it is within a chunk, so that rounding is the same everywhere.
        sums = np.cumsum(np.concatenate(([total], gaps(rng, size))))[1:]
        total = float(sums[-1])
        yield sums
