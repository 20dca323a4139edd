"""Few keys that are asked for often, and many that are asked for seldom."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from policies.knobs import knob
from policies.runlog import Int64
from sim.keys.base import MOST_KEYS, Keys


@dataclass(frozen=True, slots=True)
class Zipf(Keys):
    """P(k) is in proportion to (k + 1)^-exponent for k from 0 to count - 1: key 0 is the most popular.

    Popularity of web objects follows it with exponents of 0.6 to 0.9: Breslau et al., "Web caching and
    Zipf-like distributions", INFOCOM 1999; of users and items in feeds, often somewhat above 1.
    """

    kind: ClassVar[str] = "zipf"

    count: int = knob("keys that there are", ge=1, le=MOST_KEYS)
    exponent: float = knob("how unequal they are; 0 makes all as likely", default=1.0, ge=0, le=20)

    def draw(self, rng: Generator, count: int) -> Int64:
        """See Keys. By inversion of the distribution function, one uniform number a key."""
        reached = _cumulated(self.count, self.exponent)
        found = np.searchsorted(reached, rng.random(count) * reached[-1], side="right")
        # The product may round up to the end itself.
        keys: Int64 = np.minimum(found, self.count - 1).astype(np.int64)
        return keys


@functools.lru_cache(maxsize=4)
def _cumulated(count: int, exponent: float) -> NDArray[np.float64]:
    """Sums of the weights of keys 0 to k."""
    return np.cumsum(np.arange(1.0, count + 1.0) ** -exponent)
