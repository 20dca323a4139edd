"""Batches that cost a fixed part and a part for each request and item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.random import Generator

from policies.knobs import knob
from sim.service.base import LONGEST_NS, Float64, ScaledModel, lognormal_noise


@dataclass(frozen=True, slots=True)
class Affine(ScaledModel):
    """The mean is base + per_request * requests + per_item * items; noise multiplies it.

    Fits measured inference times well: Inoue, "Queueing analysis of GPU-based inference servers with
    dynamic batching", Performance Evaluation 2021, section 2.
    """

    kind: ClassVar[str] = "affine"

    base_ns: int = knob("part of the time that every batch takes", default=0, ge=0, le=LONGEST_NS)
    per_request_ns: int = knob("time added by each request", default=0, ge=0, le=LONGEST_NS)
    per_item_ns: int = knob("time added by each item", default=0, ge=0, le=LONGEST_NS)
    cv: float = knob("coefficient of variation, lognormal", default=0.0, ge=0, le=100)

    def expected_ns(self, requests: int, items: int) -> float:
        """The mean."""
        return self.base_ns + self.per_request_ns * requests + self.per_item_ns * items

    @property
    def per_item(self) -> float:
        """As the knob says."""
        return float(self.per_item_ns)

    @property
    def noisy(self) -> bool:
        """Not where it does not vary."""
        return self.cv > 0

    def draw(self, rng: Generator, count: int) -> Float64:
        """Lognormal of mean 1."""
        return lognormal_noise(rng, count, self.cv)
