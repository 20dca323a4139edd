"""Requests of one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.items.base import MAX_ITEMS, Items


@dataclass(frozen=True, slots=True)
class Constant(Items):
    """Every request has ``value`` items."""

    kind: ClassVar[str] = "constant"

    value: int = knob("items of every request", default=1, ge=1, le=MAX_ITEMS)

    def draw(self, rng: Generator, count: int) -> Int64:  # noqa: ARG002
        """See Items. Draws nothing."""
        return np.full(count, self.value, np.int64)

    def largest(self) -> int:
        """Items of the biggest request."""
        return self.value

    def mean_items(self) -> float:
        """The value."""
        return float(self.value)
