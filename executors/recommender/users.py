"""What is known of a user when a request comes: newest items, profile, and everything seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from executors.recommender.data import Interactions
from executors.recommender.sizes import Sizes

PROFILE_STEP = 2.0**-7
"""Profiles lie on the models' activation grid, so that sums over them are exact."""


@dataclass(frozen=True, slots=True)
class Contexts:
    """Users at points of their sequences, a row each."""

    history: NDArray[np.int32]
    """(rows, history): item numbers, newest first; the item count stands where there is no more."""
    profile: NDArray[np.float32]
    """(rows, profile): share of each attribute among the items so far, and log2(1 + items) / 4."""


@dataclass(frozen=True, slots=True)
class UserTable:
    """The users a recommender serves: the feature store that its stages look a user id up in."""

    contexts: Contexts
    seen_offsets: NDArray[np.int64]
    """(users + 1,): where each user's part of ``seen`` starts."""
    seen: NDArray[np.int32]
    """Items that each user has met, and that recall leaves out."""

    @property
    def user_count(self) -> int:
        """Users in the table, numbered from 0."""
        return len(self.seen_offsets) - 1

    def unseen(self, items: int) -> int:
        """How many of ``items`` items the user who has seen most has left."""
        return items - int(np.diff(self.seen_offsets).max())


def contexts(
    interactions: Interactions, sizes: Sizes, users: NDArray[np.int64], known: NDArray[np.int64]
) -> Contexts:
    """The contexts of ``users`` (rows,) after their first ``known`` (rows,) interactions."""
    starts = interactions.offsets[users]
    places = (starts + known)[:, None] - 1 - np.arange(sizes.history)
    present = places >= starts[:, None]
    history = np.where(present, interactions.items[np.where(present, places, 0)], sizes.items)
    return Contexts(
        history=history.astype(np.int32),
        profile=_profiles(interactions, starts, known),
    )


def _profiles(
    interactions: Interactions, starts: NDArray[np.int64], known: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Differences of running sums over all sequences; counts of 0 and 1 add exactly."""
    width = interactions.attributes.shape[1]
    running = np.zeros((len(interactions.items) + 1, width))
    np.cumsum(
        interactions.attributes[interactions.items], axis=0, out=running[1:], dtype=np.float64
    )
    share = (running[starts + known] - running[starts]) / np.maximum(known, 1)[:, None]
    activity = np.minimum(np.log2(1.0 + known) / 4.0, 4.0)
    profile = np.concatenate((share, activity[:, None]), axis=1)
    return (np.round(profile / PROFILE_STEP) * PROFILE_STEP).astype(np.float32)


def user_table(interactions: Interactions, sizes: Sizes) -> UserTable:
    """Every user after all interactions given."""
    users = np.arange(interactions.user_count)
    return UserTable(
        contexts=contexts(interactions, sizes, users, np.diff(interactions.offsets)),
        seen_offsets=interactions.offsets,
        seen=interactions.items.astype(np.int32),
    )
