"""Independent arrivals at one rate."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.arrivals.base import MAX_RATE_HZ, ArrivalProcess, check_factor
from sim.arrivals.renewal import renewal_times_ns


@dataclass(frozen=True, slots=True)
class Poisson(ArrivalProcess):
    """A Poisson process: exponential gaps."""

    kind: ClassVar[str] = "poisson"

    rate_hz: float = knob("requests a second", gt=0, le=MAX_RATE_HZ)

    def times_ns(self, rng: Generator, requests: int | None, duration_ns: int | None) -> Int64:
        """See ArrivalProcess."""
        gaps = Generator.standard_exponential
        return renewal_times_ns(rng, gaps, self.rate_hz, requests, duration_ns)

    def mean_rate_hz(self) -> float:
        """The rate."""
        return self.rate_hz

    def scaled(self, factor: float) -> Self:
        """At ``factor`` times the rate."""
        return dataclasses.replace(self, rate_hz=self.rate_hz * check_factor(factor))
