"""Interactions that the package makes itself, with enough in them for models to learn.

Each user has a taste over the items' attributes that drifts as a random walk, and picks item after
item, never one twice, from the softmax of

    appeal * <taste, item> + zipf popularity + sequel * <last item, item>

so that popularity alone, the history as a set and its order each tell something about what is next.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from executors.recommender.data import Interactions, collect

_APPEAL = 9.0
_SEQUEL = 6.0
_DRIFT = 0.05
_ZIPF = 0.8


def generate_interactions(
    seed: int,
    *,
    users: int = 600,
    items: int = 2000,
    interactions_per_user: int = 100,
    attributes: int = 18,
) -> Interactions:
    """Draw a data set; equal arguments give equal data.

    ``interactions_per_user`` is the mean; a user has from half to one and a half of it. Raises
    ValueError where users would run out of items or there is nothing to draw.
    """
    if min(users, attributes) < 1 or interactions_per_user < 10:
        raise ValueError(
            "users and attributes must be at least 1, interactions_per_user at least 10"
        )
    if items < 4 * interactions_per_user:
        raise ValueError(
            f"items must be at least 4 * interactions_per_user ({4 * interactions_per_user}), not {items}"
        )
    rng = np.random.default_rng(seed)
    labels, latent = _draw_items(rng, items, attributes)
    popularity = -_ZIPF * np.log1p(rng.permutation(items)).astype(np.float32)
    lengths = rng.integers(
        interactions_per_user // 2, interactions_per_user * 3 // 2, users, endpoint=True
    )
    user, item, step = _draw_sequences(rng, latent, popularity, lengths)
    return collect(user, item, step, np.arange(items), labels, "generated interactions")


def _draw_items(
    rng: Generator, items: int, attributes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Attribute labels (items, attributes), one to three each, and unit latent vectors beside them."""
    labels = np.zeros((items, attributes), dtype=np.float32)
    for _ in range(3):
        labels[np.arange(items), rng.integers(0, attributes, items)] = 1.0
    latent = labels + 0.5 * rng.standard_normal((items, attributes), dtype=np.float32)
    latent -= latent.mean(axis=0)
    return labels, _unit(latent)


def _draw_sequences(
    rng: Generator,
    latent: NDArray[np.float32],
    popularity: NDArray[np.float32],
    lengths: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """User, item and step of each interaction; all users take their n-th step together."""
    users, width = len(lengths), latent.shape[1]
    taste = _unit(rng.standard_normal((users, width), dtype=np.float32))
    last = np.zeros((users, width), dtype=np.float32)
    unseen = np.ones((users, len(latent)), dtype=np.float32)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    for step in range(int(lengths.max())):
        active = np.flatnonzero(lengths > step)
        pull = _APPEAL * taste[active] + _SEQUEL * last[active]
        weights = np.exp(pull @ latent.T + popularity) * unseen[active]
        edges = np.cumsum(weights, axis=1, dtype=np.float64)
        draws = rng.random(len(active)) * edges[:, -1]
        picks = np.minimum((edges <= draws[:, None]).sum(axis=1), len(latent) - 1)
        unseen[active, picks] = 0.0
        last[active] = latent[picks]
        steps = rng.standard_normal((len(active), width), dtype=np.float32)
        taste[active] = _unit(taste[active] + _DRIFT * steps)
        found.append((active, picks.astype(np.int64), np.full(len(active), step, dtype=np.int64)))
    user, item, when = (np.concatenate(column) for column in zip(*found, strict=True))
    return user, item, when


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / lengths).astype(np.float32)
