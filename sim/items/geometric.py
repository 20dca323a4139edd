"""Sizes without memory: many small, few large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.items.base import MAX_ITEMS, Items


@dataclass(frozen=True, slots=True)
class Geometric(Items):
    """P(n) = (1 - p)^(n - 1) p for n from 1 on, with p = 1/mean."""

    kind: ClassVar[str] = "geometric"

    mean: float = knob("mean size", ge=1, le=MAX_ITEMS)

    def draw(self, rng: Generator, count: int) -> Int64:
        """See Items."""
        return rng.geometric(1 / self.mean, count)

    def mean_items(self) -> float:
        """The mean."""
        return self.mean
