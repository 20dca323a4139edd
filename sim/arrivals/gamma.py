"""Arrivals burstier or steadier than Poisson, one number apart from the rate."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.arrivals.base import MAX_RATE_HZ, ArrivalProcess, Float64, check_factor
from sim.arrivals.renewal import renewal_times_ns


@dataclass(frozen=True, slots=True)
class Gamma(ArrivalProcess):
    """Independent Gamma gaps: shape 1/cv^2 and scale cv^2/rate, so that their mean is 1/rate.

    A cv of 1 is Poisson, above 1 bursts, below 1 is steadier.
    """

    kind: ClassVar[str] = "gamma"

    rate_hz: float = knob("requests a second", gt=0, le=MAX_RATE_HZ)
    cv: float = knob("coefficient of variation of the gaps", gt=0, le=100)

    def times_ns(self, rng: Generator, requests: int | None, duration_ns: int | None) -> Int64:
        """See ArrivalProcess."""
        return renewal_times_ns(rng, self._gaps, self.rate_hz, requests, duration_ns)

    def _gaps(self, rng: Generator, count: int) -> Float64:
        variance = self.cv**2
        return rng.standard_gamma(1 / variance, count) * variance

    def mean_rate_hz(self) -> float:
        """The rate."""
        return self.rate_hz

    def scaled(self, factor: float) -> Self:
        """At ``factor`` times the rate; the cv stays."""
        return dataclasses.replace(self, rate_hz=self.rate_hz * check_factor(factor))
