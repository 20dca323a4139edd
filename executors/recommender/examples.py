"""Interactions to learn from, and the candidate lists that a stage learns to put in order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from executors.recommender.data import Interactions
from executors.recommender.sizes import Sizes
from executors.recommender.users import contexts


@dataclass(frozen=True, slots=True)
class Examples:
    """Interactions to predict, and what is known before each; a row an example."""

    users: Tensor
    history: Tensor
    profile: Tensor
    positives: Tensor
    """The items met."""

    def __len__(self) -> int:
        return len(self.positives)

    def at(self, rows: Tensor) -> Examples:
        """The examples of these numbers."""
        return Examples(
            self.users[rows], self.history[rows], self.profile[rows], self.positives[rows]
        )


def examples_of(
    interactions: Interactions,
    sizes: Sizes,
    limit: int | None = None,
    after: Interactions | None = None,
) -> Examples:
    """All interactions with something before them, or the ``limit`` nearest their sequence's end; only
    those that are not in ``after``, the beginnings of the same sequences, where that is given.
    """
    users = interactions.users
    known = np.arange(len(interactions.items)) - interactions.offsets[users]
    earliest = 1 if after is None else np.maximum(np.diff(after.offsets)[users], 1)
    chosen = np.flatnonzero(known >= earliest)
    if limit is not None and len(chosen) > limit:
        left = interactions.offsets[users + 1] - np.arange(len(interactions.items))
        chosen = np.sort(chosen[np.argsort(left[chosen], kind="stable")[:limit]])
    before = contexts(interactions, sizes, users[chosen], known[chosen])
    return Examples(
        users=torch.from_numpy(users[chosen]),
        history=torch.from_numpy(before.history).long(),
        profile=torch.from_numpy(before.profile),
        positives=torch.from_numpy(interactions.items[chosen]),
    )


@dataclass(frozen=True, slots=True)
class Windows:
    """Pieces of sequences, a row each, oldest first, and the item after each place."""

    items: Tensor
    """(windows, places): the padding's number stands before a sequence's begin."""
    following: Tensor
    """(windows, places): the next item; -1 where another window has the place with more before it."""

    def __len__(self) -> int:
        return len(self.items)


def windows_of(interactions: Interactions, sizes: Sizes) -> Windows:
    """Windows of ``sizes.history`` places, half of them shared with the window before."""
    places, padding = sizes.history, sizes.items
    found, following = [], []
    for start, end in pairwise(interactions.offsets):
        sequence = interactions.items[start:end]
        for last in range(len(sequence) - 1, 0, -(places // 2)):
            first = max(0, last - places)
            count = last - first
            items, nexts = np.full(places, padding), np.full(places, -1)
            items[places - count :] = sequence[first:last]
            nexts[places - count :] = sequence[first + 1 : last + 1]
            if first > 0:
                nexts[: places // 2] = -1
            found.append(items)
            following.append(nexts)
            if first == 0:
                break
    return Windows(torch.from_numpy(np.stack(found)), torch.from_numpy(np.stack(following)))


@dataclass(frozen=True, slots=True)
class CandidateLists:
    """Examples whose positive is in the list that the stage before passes on, as it is in service.

    To learn from others too would teach that a poor earlier score is a good sign: the positives would be
    the only ones without a high one.
    """

    examples: Examples
    candidates: Tensor
    """(examples, n)."""
    scores: Tensor
    """(examples, n): what the stage before gave them; of fused lists what their places stand for."""
    places: Tensor
    """(examples,): where in the list the positive is."""

    def draw(
        self, rows: Tensor, negatives: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Items (batch, 1 + negatives), the positive first, and their scores, of the examples ``rows``."""
        steps = torch.randint(
            1, self.candidates.shape[1], (len(rows), negatives), generator=generator
        )
        return self._from_positive(rows, steps)

    def positive_first(self) -> tuple[Tensor, Tensor]:
        """All lists and their scores (examples, n), turned so that the positive is in column 0."""
        count = self.candidates.shape[1]
        steps = torch.arange(1, count).expand(len(self.places), -1)
        return self._from_positive(torch.arange(len(self.places)), steps)

    def _from_positive(self, rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """The positive, then what lies so many places behind it, round the list's end."""
        own = self.places[rows, None]
        places = torch.cat((own, (own + steps) % self.candidates.shape[1]), dim=1)
        return self.candidates[rows].gather(1, places), self.scores[rows].gather(1, places)


def candidate_lists(examples: Examples, parts: list[tuple[Tensor, Tensor]]) -> CandidateLists:
    """From batches of candidates and scores, both (batch, n), in the examples' order."""
    candidates, scores = (torch.cat(column) for column in zip(*parts, strict=True))
    hits = candidates == examples.positives[:, None]
    rows = hits.any(dim=1).nonzero().squeeze(1)
    return CandidateLists(
        examples=examples.at(rows),
        candidates=candidates[rows].clone(),
        scores=scores[rows].clone(),
        places=hits[rows].int().argmax(dim=1).clone(),
    )
