"""Batches that all take the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from policies.knobs import knob
from sim.service.base import LONGEST_NS, Float64, ScaledModel


@dataclass(frozen=True, slots=True)
class Deterministic(ScaledModel):
    """Every batch takes ``mean``, whatever its size."""

    kind: ClassVar[str] = "deterministic"

    mean_ns: int = knob("time of a batch", ge=0, le=LONGEST_NS)

    def expected_ns(self, requests: int, items: int) -> float:  # noqa: ARG002
        """The time."""
        return float(self.mean_ns)

    @property
    def noisy(self) -> bool:
        """Never."""
        return False

    def draw(self, rng: Generator, count: int) -> Float64:  # noqa: ARG002
        """All 1; draws nothing."""
        return np.ones(count)
