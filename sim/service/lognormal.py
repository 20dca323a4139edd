"""Batches whose time has a long tail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.random import Generator

from policies.knobs import knob
from sim.service.base import LONGEST_NS, Float64, ScaledModel, lognormal_noise


@dataclass(frozen=True, slots=True)
class Lognormal(ScaledModel):
    """The time is lognormal, whatever the batch's size."""

    kind: ClassVar[str] = "lognormal"

    mean_ns: int = knob("mean time of a batch", ge=0, le=LONGEST_NS)
    cv: float = knob("coefficient of variation", ge=0, le=100)

    def expected_ns(self, requests: int, items: int) -> float:  # noqa: ARG002
        """The mean."""
        return float(self.mean_ns)

    @property
    def noisy(self) -> bool:
        """Not where it does not vary."""
        return self.cv > 0

    def draw(self, rng: Generator, count: int) -> Float64:
        """Lognormal of mean 1."""
        return lognormal_noise(rng, count, self.cv)
