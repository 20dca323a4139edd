"""Batches whose time is a sum of exponential phases, or burstier than one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.random import Generator

from policies.knobs import knob
from sim.service.base import LONGEST_NS, Float64, ScaledModel


@dataclass(frozen=True, slots=True)
class Gamma(ScaledModel):
    """The time is Gamma of shape 1/cv^2, whatever the batch's size; Erlang k has cv = 1/sqrt(k)."""

    kind: ClassVar[str] = "gamma"

    mean_ns: int = knob("mean time of a batch", ge=0, le=LONGEST_NS)
    cv: float = knob("coefficient of variation", gt=0, le=100)

    def expected_ns(self, requests: int, items: int) -> float:  # noqa: ARG002
        """The mean."""
        return float(self.mean_ns)

    def draw(self, rng: Generator, count: int) -> Float64:
        """Gamma of mean 1."""
        variance = self.cv**2
        return rng.standard_gamma(1 / variance, count) * variance
