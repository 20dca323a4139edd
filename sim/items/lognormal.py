"""Sizes with a long tail."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.items.base import MAX_ITEMS, Items


@dataclass(frozen=True, slots=True)
class Lognormal(Items):
    """A lognormal number of this mean and cv, rounded, at least 1 (and at most a thousand million)."""

    kind: ClassVar[str] = "lognormal"

    mean: float = knob("mean before rounding", ge=1, le=MAX_ITEMS)
    cv: float = knob("coefficient of variation before rounding", ge=0, le=100)

    def draw(self, rng: Generator, count: int) -> Int64:
        """See Items."""
        variance = math.log1p(self.cv**2)
        exact = self.mean * np.exp(math.sqrt(variance) * rng.standard_normal(count) - variance / 2)
        return np.clip(np.rint(exact), 1, MAX_ITEMS).astype(np.int64)

    def mean_items(self) -> float:
        """The mean before rounding; a little below the true one where many sizes round up to 1."""
        return self.mean
