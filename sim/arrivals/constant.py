"""Arrivals at equal distances."""

from __future__ import annotations

import dataclasses
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


@dataclass(frozen=True, slots=True)
class Constant(ArrivalProcess):
    """A clock: request k (from 0) arrives at k/rate, rounded for itself alone."""

    kind: ClassVar[str] = "constant"

    rate_hz: float = knob("requests a second", gt=0, le=MAX_RATE_HZ)

    def times_ns(
        self,
        rng: Generator,  # noqa: ARG002
        requests: int | None,
        duration_ns: int | None,
    ) -> Int64:
        """See ArrivalProcess. Draws nothing."""
        size = chunk_size(self.rate_hz, requests, duration_ns)
        return first_within(self._chunks(size), requests, duration_ns)

    def _chunks(self, size: int) -> Iterator[Float64]:
        start = 0
        while True:
            yield np.arange(start, start + size) * NS_PER_S / self.rate_hz
            start += size

    def mean_rate_hz(self) -> float:
        """The rate."""
        return self.rate_hz

    def scaled(self, factor: float) -> Self:
        """At ``factor`` times the rate."""
        return dataclasses.replace(self, rate_hz=self.rate_hz * check_factor(factor))
