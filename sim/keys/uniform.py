"""Keys that are all as likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.keys.base import MOST_KEYS, Keys


@dataclass(frozen=True, slots=True)
class UniformKeys(Keys):
    """Each of ``count`` keys is as likely."""

    kind: ClassVar[str] = "uniform"

    count: int = knob("keys that there are", ge=1, le=MOST_KEYS)

    def draw(self, rng: Generator, count: int) -> Int64:
        """See Keys."""
        return rng.integers(0, self.count, count)
