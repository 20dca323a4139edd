"""Sizes between two bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.items.base import MAX_ITEMS, Items


@dataclass(frozen=True, slots=True)
class Uniform(Items):
    """Every whole number from ``low`` to ``high``, both included, is as likely."""

    kind: ClassVar[str] = "uniform"

    low: int = knob("smallest size", ge=1, le=MAX_ITEMS)
    high: int = knob("largest size", ge=1, le=MAX_ITEMS)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"`low` must be at most `high` ({self.high}), not {self.low}")

    def draw(self, rng: Generator, count: int) -> Int64:
        """See Items."""
        return rng.integers(self.low, self.high, count, endpoint=True)

    def largest(self) -> int:
        """Items of the biggest request."""
        return self.high

    def mean_items(self) -> float:
        """The middle."""
        return (self.low + self.high) / 2
