"""How good lists are: against the item that was held out of each user, and against the full model's lists.

With one relevant item at place r (from 1) of a list, NDCG@10 = 1 / log2(1 + r) where r <= 10, else 0
(Jarvelin and Kekalainen 2002), and recall@k of a list of k = 1 where it is there at all, else 0. Agreement
is the share of the full model's first ten that the list holds; a negative item is none. All are means over
requests, with percentile bootstrap intervals (Efron 1979) by resampling users with all of their requests
(Davison and Hinkley 1997, on hierarchical data): more requests of one user are no further evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.confidence import Estimate

TOP = 10
"""Places that NDCG and agreement look at."""
RESAMPLES = 2000
SCORES = ("ndcg", "recall", "agreement")
_AT_ONCE = 100

Lists = NDArray[np.int64]
Scores = Mapping[str, NDArray[np.float64]]
"""By name, one of SCORES: (requests,)."""


def scores(lists: Lists, held_out: NDArray[np.int64], full: Lists) -> Scores:
    """Of lists (requests, k), best first, the items held out (requests,), the full model's (requests, m)."""
    hits = lists == held_out[:, None]
    there = hits.any(axis=1)
    place = hits.argmax(axis=1)
    best = full[:, :TOP]
    sought = best >= 0
    kept = (lists[:, :, None] == best[:, None, :]).any(axis=1) & sought
    return {
        "ndcg": np.where(there & (place < TOP), 1.0 / np.log2(2.0 + place), 0.0),
        "recall": there.astype(np.float64),
        "agreement": kept.sum(axis=1) / np.maximum(sought.sum(axis=1), 1),
    }


def means(
    found: Scores, users: NDArray[np.int64], seed: int, confidence: float = 0.95
) -> dict[str, Estimate]:
    """Means over requests, each of the user in ``users`` (requests,), with percentile bootstrap intervals.
    None of one user alone.
    """
    who, inverse = np.unique(users, return_inverse=True)
    counts = np.bincount(inverse)
    names = list(found)
    each = np.stack([found[name] for name in names], axis=1)
    sums = np.zeros((len(who), len(names)))
    np.add.at(sums, inverse, each)
    point = sums.sum(axis=0) / counts.sum()
    if len(who) < 2:
        return {name: Estimate(float(point[at]), None, None) for at, name in enumerate(names)}
    resampled = _resampled(sums, counts, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return {
        name: Estimate(float(point[at]), float(low[at]), float(high[at]))
        for at, name in enumerate(names)
    }


def _resampled(
    sums: NDArray[np.float64], counts: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.float64]:
    """(resamples, scores): the means over requests of as many users, drawn with replacement."""
    n = len(counts)
    parts = []
    for _ in range(RESAMPLES // _AT_ONCE):
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=_AT_ONCE).astype(np.float64)
        parts.append(drawn @ sums / (drawn @ counts)[:, None])
    return np.concatenate(parts)
