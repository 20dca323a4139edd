"""Arrivals whose rate jumps between levels: bursts that last."""

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
    LATEST_NS,
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
class Mmpp(ArrivalProcess):
    """A Markov-modulated Poisson process: each state has a rate, lasts an exponential time, and is
    followed by the next in the list, the last by the first.

    The first state is drawn by the share of time spent in each, so that the process is stationary
    from 0 on. Fischer and Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook",
    Performance Evaluation 1993.
    """

    kind: ClassVar[str] = "mmpp"

    rates_hz: tuple[float, ...] = knob("requests a second in each state", ge=0, le=MAX_RATE_HZ)
    sojourn_ns: tuple[int, ...] = knob("mean time spent in each state", ge=1_000)

    def __post_init__(self) -> None:
        if len(self.rates_hz) != len(self.sojourn_ns):
            raise ValueError(
                "`rates` and `sojourn` need one entry a state each, "
                f"not {len(self.rates_hz)} and {len(self.sojourn_ns)}"
            )
        if len(self.rates_hz) < 2:
            raise ValueError(f"`rates` needs two states or more, not {len(self.rates_hz)}")
        if max(self.rates_hz) <= 0:
            raise ValueError("`rates` needs one above 0, or nothing ever arrives")

    def times_ns(self, rng: Generator, requests: int | None, duration_ns: int | None) -> Int64:
        """See ArrivalProcess.

        Exact at switches: a unit-rate Poisson process is read on the clock that advances by the
        integral of the rate (time change), instead of restarting gaps in each state.
        """
        size = chunk_size(self.mean_rate_hz(), requests, duration_ns)
        return first_within(self._chunks(rng, size), requests, duration_ns)

    def _chunks(self, rng: Generator, size: int) -> Iterator[Float64]:
        (switches,) = rng.spawn(1)
        path = self._path(switches)
        at_ns, done, rate = next(path)
        # The path so far that has arrivals ahead of it: times, integrals of the rate, rates.
        known = [(at_ns, done, rate)]
        for units in cumulative(rng, Generator.standard_exponential, size):
            while known[-1][1] <= units[-1] and known[-1][0] < LATEST_NS:
                known.append(next(path))
            starts, integrals, rates = np.array(known).T
            # The last point at or below each unit; of several (rate 0 between), the last.
            segment = np.searchsorted(integrals, units, side="right") - 1
            with np.errstate(divide="ignore"):
                yield starts[segment] + (units - integrals[segment]) / rates[segment] * NS_PER_S
            known = known[int(segment[-1]) :]

    def _path(self, rng: Generator) -> Iterator[tuple[float, float, float]]:
        """Switches without end: (time in ns, integral of the rate up to it, rate from it on)."""
        states = len(self.rates_hz)
        share = np.array(self.sojourn_ns, float) / math.fsum(self.sojourn_ns)
        state = int(rng.choice(states, p=share))
        at_ns = integral = 0.0
        while True:
            for stay in rng.standard_exponential(256).tolist():
                yield at_ns, integral, self.rates_hz[state]
                stay_ns = stay * self.sojourn_ns[state]
                at_ns += stay_ns
                integral += stay_ns * self.rates_hz[state] / NS_PER_S
                state = (state + 1) % states

    def mean_rate_hz(self) -> float:
        """Mean of the rates, weighted by the time spent in each state."""
        pairs = zip(self.rates_hz, self.sojourn_ns, strict=True)
        return math.fsum(r * s for r, s in pairs) / math.fsum(self.sojourn_ns)

    def scaled(self, factor: float) -> Self:
        """Every rate times ``factor``; the sojourns stay."""
        factor = check_factor(factor)
        return dataclasses.replace(self, rates_hz=tuple(r * factor for r in self.rates_hz))
