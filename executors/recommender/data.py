"""Interactions of users with items, and the split that holds out each user's last ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_INTERACTIONS = 5
"""Users with fewer are left out: two interactions are held out, and a history must remain."""


class DataError(ValueError):
    """Interactions that cannot be read or used; the text names the file and the line."""


@dataclass(frozen=True, slots=True)
class Interactions:
    """Who met what, in each user's order of time.

    ``items[offsets[u]:offsets[u + 1]]`` are user u's items, oldest first.
    """

    offsets: NDArray[np.int64]
    """(users + 1,): where each user's interactions start."""
    items: NDArray[np.int64]
    """(interactions,): item numbers, 0 .. item_count - 1."""
    attributes: NDArray[np.float32]
    """(items, attributes): 1 where the item has the attribute (genre, decade, ...), else 0."""
    user_ids: NDArray[np.int64]
    """(users,): the id that the source gives each user."""
    item_ids: NDArray[np.int64]
    """(items,): the id that the source gives each item."""

    @property
    def user_count(self) -> int:
        """Users, each with at least MIN_INTERACTIONS interactions in the whole data."""
        return len(self.offsets) - 1

    @property
    def item_count(self) -> int:
        """Items, met or not."""
        return len(self.attributes)

    @property
    def users(self) -> NDArray[np.int64]:
        """(interactions,): the user of each interaction."""
        return np.repeat(np.arange(self.user_count), np.diff(self.offsets))

    def fingerprint(self) -> str:
        """A SHA-256 of everything in here: equal for equal data, on every machine."""
        digest = hashlib.sha256()
        for array in (self.offsets, self.items, self.attributes, self.user_ids, self.item_ids):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def without_last(self, count: int) -> Interactions:
        """The same without each user's last ``count`` interactions."""
        if int(np.diff(self.offsets).min()) < count:
            raise DataError(f"some user has fewer than the {count} interactions to hold out")
        return self._without(np.full(self.user_count, count))

    def beginnings(self, share: float) -> Interactions:
        """About this share of each user's interactions, the first ones; two at least."""
        lengths = np.diff(self.offsets)
        kept = np.clip(np.round(share * lengths).astype(np.int64), np.minimum(2, lengths), lengths)
        return self._without(lengths - kept)

    def _without(self, counts: NDArray[np.int64]) -> Interactions:
        """The same without the last ``counts`` (users,) interactions."""
        users = self.users
        place = np.arange(len(self.items)) - self.offsets[users + 1]
        return Interactions(
            offsets=self.offsets - np.concatenate(([0], np.cumsum(counts))),
            items=self.items[place < -counts[users]],
            attributes=self.attributes,
            user_ids=self.user_ids,
            item_ids=self.item_ids,
        )


@dataclass(frozen=True, slots=True)
class Split:
    """Leave-last-out by time: of each user the last item is for the test, the one before for validation."""

    training: Interactions
    before_test: Interactions
    """The training interactions and the validation ones: what is known when the test item comes."""
    validation_items: NDArray[np.int64]
    """(users,): the last but one item of each user."""
    test_items: NDArray[np.int64]
    """(users,): the last item of each user."""


def leave_last_out(interactions: Interactions) -> Split:
    """Hold out each user's last interaction for the test and the one before for validation."""
    ends = interactions.offsets[1:]
    return Split(
        training=interactions.without_last(2),
        before_test=interactions.without_last(1),
        validation_items=interactions.items[ends - 2],
        test_items=interactions.items[ends - 1],
    )


def collect(
    user_ids: NDArray[np.int64],
    item_ids: NDArray[np.int64],
    times_s: NDArray[np.int64],
    catalogue: NDArray[np.int64],
    attributes: NDArray[np.float32],
    source: str,
) -> Interactions:
    """Number users and items densely and put each user's interactions in order of time.

    ``user_ids``, ``item_ids`` and ``times_s`` are (interactions,), in any order; equal times keep the
    order they come in. ``catalogue`` holds the ids of the items, ascending, a row of ``attributes``
    each. Raises DataError, naming ``source``, where no user has enough interactions.
    """
    order = np.lexsort((np.arange(len(times_s)), times_s, user_ids))
    user_ids, item_ids = user_ids[order], item_ids[order]
    known, counts = np.unique(user_ids, return_counts=True)
    kept = counts >= MIN_INTERACTIONS
    if not kept.any():
        raise DataError(
            f"{source}: no user has {MIN_INTERACTIONS} interactions or more; "
            "training holds out two of each user's"
        )
    items = np.searchsorted(catalogue, item_ids[np.repeat(kept, counts)])
    return Interactions(
        offsets=np.concatenate(([0], np.cumsum(counts[kept]))).astype(np.int64),
        items=items.astype(np.int64),
        attributes=np.ascontiguousarray(attributes, dtype=np.float32),
        user_ids=known[kept].astype(np.int64),
        item_ids=catalogue.astype(np.int64),
    )
