"""Sizes out of a list."""

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
class Choice(Items):
    """One of ``values``, each with a chance in proportion to its weight."""

    kind: ClassVar[str] = "choice"

    values: tuple[int, ...] = knob("sizes to choose from", ge=1, le=MAX_ITEMS)
    weights: tuple[float, ...] = knob("their weights; equal if left out", default=(), ge=0)

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("`values` needs one size or more")
        if not self.weights:
            return
        if len(self.weights) != len(self.values):
            raise ValueError(
                f"`weights` needs one entry for each of the {len(self.values)} values, "
                f"not {len(self.weights)}"
            )
        if not 0 < math.fsum(self.weights) < math.inf:
            raise ValueError("`weights` needs one above 0, all of them finite")

    def draw(self, rng: Generator, count: int) -> Int64:
        """See Items."""
        return rng.choice(np.array(self.values, np.int64), count, p=self._chances())

    def largest(self) -> int:
        """Items of the biggest request."""
        return max(self.values)

    def mean_items(self) -> float:
        """The weighted mean."""
        return float(np.average(self.values, weights=self._chances()))

    def _chances(self) -> list[float]:
        weights = self.weights or (1.0,) * len(self.values)
        total = math.fsum(weights)
        return [weight / total for weight in weights]
