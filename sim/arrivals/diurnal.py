"""Arrivals that follow a daily curve."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.arrivals.base import (
    MAX_RATE_HZ,
    NS_PER_S,
    ArrivalProcess,
    Float64,
    check_factor,
    chunk_size,
    first_within,
)
from sim.arrivals.renewal import cumulative


@dataclass(frozen=True, slots=True)
class Diurnal(ArrivalProcess):
    """A Poisson process of rate(t) = rate * (1 + amplitude * sin(2 pi (t / period + phase))).

    Exact by thinning: Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes by thinning",
    Naval Research Logistics 1979.
    """

    kind: ClassVar[str] = "diurnal"

    rate_hz: float = knob("requests a second, averaged over a period", gt=0, le=MAX_RATE_HZ)
    amplitude: float = knob("swing of the rate as a part of its mean", ge=0, le=1)
    period_ns: int = knob("length of the cycle", default=86_400 * NS_PER_S, gt=0)
    phase: float = knob("part of the cycle already over at the start", default=0.0, ge=0, lt=1)

    def times_ns(self, rng: Generator, requests: int | None, duration_ns: int | None) -> Int64:
        """See ArrivalProcess."""
        peak_hz = self.rate_hz * (1 + self.amplitude)
        candidates = None if requests is None else 2 * requests + 16
        size = chunk_size(peak_hz, candidates, duration_ns)
        return first_within(self._chunks(rng, size, peak_hz), requests, duration_ns)

    def _chunks(self, rng: Generator, size: int, peak_hz: float) -> Iterator[Float64]:
        (accepting,) = rng.spawn(1)
        for units in cumulative(rng, Generator.standard_exponential, size):
            times = units * (NS_PER_S / peak_hz)
            keep = accepting.random(size) * (1 + self.amplitude) < self._shape(times)
            yield times[keep]

    def _shape(self, times_ns: Float64) -> Float64:
        """The rate at these times, in units of its mean."""
        angle = 2 * math.pi * (times_ns / self.period_ns + self.phase)
        return np.asarray(1 + self.amplitude * np.sin(angle))

    def mean_rate_hz(self) -> float:
        """The rate averaged over a period."""
        return self.rate_hz

    def scaled(self, factor: float) -> Self:
        """At ``factor`` times the rate; period and amplitude stay."""
        return dataclasses.replace(self, rate_hz=self.rate_hz * check_factor(factor))
