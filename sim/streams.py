"""Randomness: one generator per named stream, each a function of seed, replication and name alone."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, replication: int, name: str) -> np.random.Generator:
    """The generator of one named stream of one replication, at its start.

    The same three values give the same numbers whichever streams were made before, so that a new
    consumer of randomness changes nobody else's. Raises ValueError for a negative seed or replication.
    """
    for what, value in (("seed", seed), ("replication", replication)):
        if value < 0:
            raise ValueError(f"{what} must be 0 or more, not {value}")
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    key = (replication, int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big"))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
