"""Ranked lists of candidates: a row a request, item numbers best first, -1 where there is none.

A row's answer depends on that row alone, so that a request gets the same list whatever batch it is in.
Equal scores leave no choice open: the lower item number comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
"""(rows, n) item numbers; a negative one is no candidate."""
Scores = NDArray[np.floating[Any]]
"""(rows, n), one a candidate; the higher the better."""

NO_ITEM = -1
"""Stands in a list where there is no candidate; lists end with it when they have too few."""
NO_SCORE = -np.inf
"""The score of no candidate."""


def side_by_side(lists: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Lists (rows, k_i) of the same requests one after another, (rows, sum of k_i).

    Raises ValueError where there is none, or where they are not of the same requests.
    """
    if not lists:
        raise ValueError("needs at least one list of candidates")
    if any(each.ndim != 2 or len(each) != len(lists[0]) for each in lists):
        shapes = ", ".join(str(each.shape) for each in lists)
        raise ValueError(f"lists must be (rows, n) with as many rows each; they are {shapes}")
    return np.concatenate(lists, axis=1)


def without_repeats(ids: Ids) -> Ids:
    """The lists with every item at its first place only; ``NO_ITEM`` stands at its others."""
    order = np.argsort(ids, axis=1, kind="stable")
    ordered = np.take_along_axis(ids, order, axis=1)
    repeats = np.zeros(ids.shape, np.bool_)
    np.put_along_axis(repeats, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return np.where(repeats | (ids < 0), NO_ITEM, ids)


def summed(ids: Ids, gains: NDArray[np.float64]) -> tuple[Ids, NDArray[np.float64]]:
    """(ids, sums): every item once, with the sum of its gains; in no order worth knowing.

    Gains of an item are added from the lowest to the highest, so that the sum does not depend on which list
    which gain came from. A gain of ``NO_ITEM`` counts for nothing.
    """
    rows, count = ids.shape
    if not rows or not count:
        return ids, np.full(ids.shape, NO_SCORE)
    order = np.lexsort((gains, ids), axis=1)
    ordered = np.take_along_axis(ids, order, axis=1)
    first = np.ones(ids.shape, np.bool_)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(first.ravel())
    sums = np.full(rows * count, NO_SCORE)
    with np.errstate(invalid="ignore"):  # infinities of both signs sum to what is not a number
        sums[starts] = np.add.reduceat(np.take_along_axis(gains, order, axis=1).ravel(), starts)
    kept = first & (ordered >= 0)
    return np.where(kept, ordered, NO_ITEM), np.where(kept, sums.reshape(ids.shape), NO_SCORE)


def best(ids: Ids, scores: Scores, keep: int) -> tuple[Ids, NDArray[np.float32]]:
    """The ``keep`` candidates of the highest scores, best first: ids and scores, (rows, keep) each.

    Of equal scores the lower item number comes first; what has a score that is not a number is no candidate.
    Where a row has fewer, ``NO_ITEM`` and ``NO_SCORE`` fill it up.
    """
    exact = scores.astype(np.float32)
    ids = np.where(np.isnan(exact), NO_ITEM, ids)
    order = np.lexsort((ids, -exact, ids < 0), axis=1)[:, :keep]
    chosen = np.take_along_axis(ids, order, axis=1)
    there = chosen >= 0
    found = np.full((len(ids), keep), NO_ITEM, np.int64)
    found[:, : order.shape[1]] = np.where(there, chosen, NO_ITEM)
    valued = np.full((len(ids), keep), NO_SCORE, np.float32)
    valued[:, : order.shape[1]] = np.where(
        there, np.take_along_axis(exact, order, axis=1), np.float32(NO_SCORE)
    )
    return found, valued


def fused(
    lists: Sequence[Ids], weights: Sequence[float], constant: float, keep: int
) -> tuple[Ids, NDArray[np.float32]]:
    """Reciprocal rank fusion: ids and scores of the best ``keep``, (rows, keep) each.

    The score of an item is the sum, over the lists (rows, k_i) that hold it, of weight / (constant + rank);
    the first place has rank 1. A list that holds an item twice counts it at its first place. No score of a
    list is looked at, so that lists whose scores mean different things can be fused. Scores are compared as
    float32. Raises ValueError for lists that are not of the same requests, another number of weights, a
    negative weight or constant, or a ``keep`` below 1.

    Source: G. Cormack, C. Clarke, S. Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual
    rank learning methods", SIGIR 2009.
    """
    if len(weights) != len(lists):
        raise ValueError(f"needs a weight for each of the {len(lists)} lists, not {len(weights)}")
    if not all(0 <= weight < np.inf for weight in weights) or not 0 <= constant < np.inf:
        raise ValueError(
            f"weights and the constant must be 0 or more, not {list(weights)} and {constant}"
        )
    if keep < 1:
        raise ValueError(f"keep must be 1 or more, not {keep}")
    everything = side_by_side([without_repeats(np.asarray(each, np.int64)) for each in lists])
    gains = np.concatenate(
        [
            weight / (constant + np.arange(1, each.shape[1] + 1))
            for weight, each in zip(weights, lists, strict=True)
        ]
    )
    return best(*summed(everything, np.broadcast_to(gains, everything.shape)), keep)
