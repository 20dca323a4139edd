"""Interactions to learn from, and the candidate lists that a stage learns to put in order."""

from __future__ import annotations

from dataclasses import dataclass

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


def examples_of(interactions: Interactions, sizes: Sizes, limit: int | None = None) -> Examples:
    """All interactions with something before them, or the ``limit`` nearest their sequence's end."""
    users = interactions.users
    known = np.arange(len(interactions.items)) - interactions.offsets[users]
    chosen = np.flatnonzero(known > 0)
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
class CandidateLists:
    """Examples whose positive is in the list that the stage before passes on, as it is in service.

    To learn from others too would teach that a poor earlier score is a good sign: the positives would be
    the only ones without a high one.
    """

    examples: Examples
    candidates: Tensor
    """(examples, n)."""
    scores: Tensor
    """(examples, n): what the stage before gave them."""
    places: Tensor
    """(examples,): where in the list the positive is."""

    def draw(
        self, rows: Tensor, negatives: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Items (batch, 1 + negatives), the positive first, and their scores, of the examples ``rows``."""
        own = self.places[rows, None]
        count = self.candidates.shape[1]
        steps = torch.randint(1, count, (len(rows), negatives), generator=generator)
        places = torch.cat((own, (own + steps) % count), dim=1)
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
