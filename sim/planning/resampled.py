"""Recorded arrivals that go on for as long as a run needs: stretches of the record, in random order."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator

from policies.runlog import Int64
from sim.arrivals.base import NS_PER_S, ArrivalProcess, Float64, check_factor
from sim.arrivals.renewal import renewal_times_ns
from sim.items.base import Items
from sim.service.blocks import Blocks

LEAST_GAPS = 100
"""Fewer than these tell nothing of how arrivals bunch."""
_STRETCHES = 20
"""A stretch is as long as a record of so many would make it, on average."""


@dataclass(frozen=True, slots=True, eq=False)
class Resampled(ArrivalProcess):
    """The gaps of a record, drawn in stretches by the stationary bootstrap (see ``sim.service.blocks``),
    so that bursts stay bursts; how stretches follow one another is lost.
    """

    kind: ClassVar[str] = "resampled"

    gaps: Blocks
    """In units of their mean."""
    rate_hz: float

    @staticmethod
    def of(times_ns: Int64, rate_hz: float) -> Resampled:
        """From sorted times (n,), at a mean rate. Raises ValueError for too few, or no time between."""
        gaps = np.diff(times_ns).astype(np.float64)
        if len(gaps) < LEAST_GAPS or not gaps.sum() > 0:
            raise ValueError(
                f"the busiest part of the record has {len(times_ns)} arrivals; planning needs"
                f" {LEAST_GAPS + 1} at least, over some time"
            )
        length = max(1, len(gaps) // _STRETCHES)
        return Resampled(Blocks.of([gaps / gaps.mean()], length), rate_hz)

    def times_ns(self, rng: Generator, requests: int | None, duration_ns: int | None) -> Int64:
        """See ArrivalProcess."""
        (stretches,) = rng.spawn(1)

        def drawn(_: Generator, count: int) -> Float64:
            return self.gaps.draw(stretches, count)

        return renewal_times_ns(rng, drawn, self.rate_hz, requests, duration_ns)

    def mean_rate_hz(self) -> float:
        """The rate."""
        return self.rate_hz

    def scaled(self, factor: float) -> Self:
        """The same gaps, each divided by ``factor``."""
        return dataclasses.replace(self, rate_hz=self.rate_hz * check_factor(factor))


@dataclass(frozen=True, slots=True, eq=False)
class ResampledSizes(Items):
    """Sizes drawn one by one from a record's."""

    kind: ClassVar[str] = "resampled"

    sizes: Int64

    def draw(self, rng: Generator, count: int) -> Int64:
        """See Items."""
        return rng.choice(self.sizes, count)

    def mean_items(self) -> float:
        """The record's mean."""
        return float(self.sizes.mean())


def rate_of(times_ns: Int64) -> float:
    """Gaps a second over the times."""
    return (len(times_ns) - 1) * NS_PER_S / float(times_ns[-1] - times_ns[0])
