"""Batches whose time has no memory: the model of M/M/c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.random import Generator

from policies.knobs import knob
from sim.service.base import LONGEST_NS, Float64, ScaledModel


@dataclass(frozen=True, slots=True)
class Exponential(ScaledModel):
    """The time is exponential, whatever the batch's size."""

    kind: ClassVar[str] = "exponential"

    mean_ns: int = knob("mean time of a batch", ge=0, le=LONGEST_NS)

    def expected_ns(self, requests: int, items: int) -> float:  # noqa: ARG002
        """The mean."""
        return float(self.mean_ns)

    def draw(self, rng: Generator, count: int) -> Float64:
        """Exponential of mean 1."""
        return rng.standard_exponential(count)
