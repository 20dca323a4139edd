"""Measured noise in blocks: slow spells of a machine stay spells.

Service times of consecutive batches are correlated, and a simulation that shuffles them predicts too
short a tail. The stationary bootstrap (Politis and Romano, "The Stationary Bootstrap", JASA 1994)
resamples stretches of random length instead, each from a random start, wrapping around in its run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import PCG64, Generator

from policies.runlog import Int64
from sim.service.base import Float64

_LOOK_BACK = 8
"""In mean block lengths. A block that began earlier (1 in 3,000) is cut short here."""


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Values in time order, run after run, and the mean length of the stretches to draw."""

    values: Float64
    run_start: Int64
    """For each value, the index of its run's first value."""
    run_length: Int64
    """For each value, how many its run has."""
    length: int

    @staticmethod
    def of(runs: list[Float64], length: int) -> Blocks:
        """Blocks out of runs, none of which is empty."""
        lengths = np.array([len(run) for run in runs], np.int64)
        starts = np.cumsum(lengths) - lengths
        return Blocks(
            np.concatenate(runs), np.repeat(starts, lengths), np.repeat(lengths, lengths), length
        )

    def draw(self, rng: Generator, count: int) -> Float64:
        """The next ``count`` values. Drawing a, then b gives the same as a + b at once.

        Each position has one uniform number; below 1/length it begins a block, and says where. A
        position follows the last beginning before it, so the numbers before this draw are needed again:
        the generator is wound back to read them, which leaves no state to keep beside it.
        """
        bits = rng.bit_generator
        if not isinstance(bits, PCG64):
            raise TypeError(
                f"blocks need a generator that can be wound back, not {type(bits).__name__}"
            )
        back = _LOOK_BACK * self.length
        bits.advance(-back)
        uniform = rng.random(back + count)
        begins = uniform * self.length < 1
        position = np.arange(back + count)
        last = np.maximum.accumulate(np.where(begins, position, -1))[back:]
        position, uniform_here = position[back:], uniform[back:]
        age = position - last
        lone = (last < 0) | (age > back)
        # Given that it begins none, a position's number is uniform above 1/length.
        alone = (uniform_here - 1 / self.length) / (1 - 1 / self.length) if self.length > 1 else 0.0
        where = np.where(lone, alone, uniform[last] * self.length)
        n = len(self.values)
        start = np.minimum((where * n).astype(np.int64), n - 1)
        first = self.run_start[start]
        offset = (start - first + np.where(lone, 0, age)) % self.run_length[start]
        return self.values[first + offset]
