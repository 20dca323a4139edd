"""Recall by items that go together: co-visitation with decay (Linden et al. 2003; Sarwar et al. 2001).

    w(i, j) = sum over users of sum over j at most REACH places after i of DECAY^(places - 1)
    s(i, j) = w(i, j) / sqrt(n(i) * n(j)^POPULAR)

n counts the interactions of an item. Of each item the ``neighbours`` of highest s are kept. An item's score
is the sum over the history of s, less the longer ago, and a trace of its popularity, which decides between
items that go with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from executors.exact import Grid, check_exact, snap
from executors.recommender.data import Interactions
from executors.recommender.sizes import Sizes

REACH = 8
DECAY = 0.8
POPULAR = 0.5
LIKENESS = Grid(bits=11, bound=4.0)
RECENCY = Grid(bits=6, bound=1.0)
SCORE_BITS = LIKENESS.bits + RECENCY.bits
FADING = 0.9
"""How much less each place further back counts."""


@dataclass(frozen=True, slots=True)
class Covisits:
    """Each item's neighbours, and what an item has without any."""

    neighbours: Tensor
    """(items + 1, neighbours): item numbers; the last row, of the padding, has weights of 0."""
    weights: Tensor
    """(items + 1, neighbours), on LIKENESS."""
    start: Tensor
    """(items,): its share of interactions, as little as one step of a weight; on the grid of the scores."""

    def scores(self, history: Tensor) -> Tensor:
        """(batch, items) from ``history`` (batch, history), newest first. Sums are exact."""
        batch, places = history.shape
        check_exact(places, LIKENESS, RECENCY)
        recency = snap(FADING ** torch.arange(places, dtype=torch.float64).float(), RECENCY)
        gains = self.weights[history] * recency.to(history.device)[None, :, None]
        scores = self.start.expand(batch, -1).clone()
        return scores.scatter_add_(
            1, self.neighbours[history].reshape(batch, -1), gains.reshape(batch, -1)
        )

    def to(self, device: str) -> Covisits:
        """The same on a device."""
        return Covisits(self.neighbours.to(device), self.weights.to(device), self.start.to(device))


def no_covisits(sizes: Sizes) -> Covisits:
    """Of items that have never met."""
    shape = (sizes.items + 1, sizes.neighbours)
    return Covisits(
        torch.zeros(shape, dtype=torch.int64), torch.zeros(shape), torch.zeros(sizes.items)
    )


def count_covisits(interactions: Interactions, sizes: Sizes) -> Covisits:
    """What goes together in these interactions."""
    met = np.bincount(interactions.items, minlength=sizes.items).astype(np.float64)
    likeness = _likeness(interactions, met, sizes.items)
    neighbours = np.zeros((sizes.items + 1, sizes.neighbours), np.int64)
    weights = np.zeros(neighbours.shape, np.float32)
    for item in range(sizes.items):
        ours = slice(likeness.indptr[item], likeness.indptr[item + 1])
        found, values = likeness.indices[ours], likeness.data[ours]
        order = np.lexsort((found, -values))[: sizes.neighbours]
        neighbours[item, : len(order)] = found[order]
        weights[item, : len(order)] = values[order]
    share = met / max(met.max(), 1.0)
    return Covisits(
        torch.from_numpy(neighbours),
        snap(torch.from_numpy(weights), LIKENESS),
        snap(torch.from_numpy(share * 2.0**-LIKENESS.bits).float(), Grid(SCORE_BITS, 1.0)),
    )


def _likeness(
    interactions: Interactions, met: NDArray[np.float64], items: int
) -> sparse.csr_matrix:
    """S (items, items)."""
    users, sequence = interactions.users, interactions.items
    total = sparse.csr_matrix((items, items))
    for apart in range(1, REACH + 1):
        same = users[apart:] == users[:-apart]
        pairs = (sequence[:-apart][same], sequence[apart:][same])
        decayed = np.full(len(pairs[0]), DECAY ** (apart - 1))
        total = total + sparse.coo_matrix((decayed, pairs), shape=(items, items)).tocsr()
    once = np.maximum(met, 1.0)
    return sparse.csr_matrix(
        sparse.diags(once**-0.5) @ total @ sparse.diags(once ** (-0.5 * POPULAR))
    )
