"""Which settings a sweep tries: all combinations of values, or points that fill the space between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

from configs.errors import ConfigError, Problem
from sim.streams import stream
from sim.sweeping.axes import Axis

MOST_SETTINGS = 1_000_000

Setting = tuple[Any, ...]
"""A value for each axis, in order."""


def check_axes(axes: Sequence[Axis]) -> None:
    """Raises ConfigError unless there is an axis and no two of them touch one knob."""
    if not axes:
        raise _refused(
            "",
            "there is nothing to sweep; give --over PATH=VALUES, or ranges under `tune` in the"
            " configuration",
        )
    for i, axis in enumerate(axes):
        for other in axes[:i]:
            first, second = sorted((axis.path, other.path), key=len)
            if first == second:
                raise _refused(first, "is swept twice; name it once, with all of its values")
            if second.startswith(f"{first}."):
                raise _refused(second, f"is swept, and so is {first}, which holds it; keep one")


def grid(axes: Sequence[Axis], count: int | None = None) -> list[Setting]:
    """Every combination; the last axis changes fastest. A range becomes ``count`` values.

    Raises ConfigError where a range has no count, or there are too many combinations.
    """
    for axis in axes:
        if not axis.values and count is None:
            low, high = axis.knob.show(axis.low), axis.knob.show(axis.high)
            raise _refused(
                axis.path,
                f"has a range without a count; write {low}..{high}:11, or ask for --grid 11 or"
                " --random 100",
            )
    values = [axis.spread(count or 0) for axis in axes]
    settings = math.prod(map(len, values))
    if settings > MOST_SETTINGS:
        raise _refused(
            "", f"{settings:,} settings are asked for; at most {MOST_SETTINGS:,} are taken"
        )
    return list(product(*values))


def scattered(axes: Sequence[Axis], count: int, seed: int) -> list[Setting]:
    """The first ``count`` points of a scrambled Sobol sequence, each once.

    They fill the space more evenly than independent points do, in every projection, and the first few
    are the same whatever the count, so that a sweep can be made longer. A. Owen, "Randomly permuted
    (t,m,s)-nets and (t,s)-sequences" (1995). Raises ConfigError for a count out of range.
    """
    from scipy.stats import qmc

    if not 1 <= count <= MOST_SETTINGS:
        raise _refused("", f"--random takes 1 to {MOST_SETTINGS:,} settings, not {count:,}")
    sequence = qmc.Sobol(len(axes), scramble=True, rng=stream(seed, 0, "sweep"))
    points = sequence.random_base2((count - 1).bit_length())[:count]
    columns = [axis.at(points[:, k]) for k, axis in enumerate(axes)]
    return list(dict.fromkeys(zip(*columns, strict=True)))


def _refused(where: str, text: str) -> ConfigError:
    return ConfigError([Problem("", where, text)])
