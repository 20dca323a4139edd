"""How big the data and the models are: what the shapes of all weights follow from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts that the data gives and widths that the models choose."""

    items: int
    attributes: int
    """Columns of the item attributes; a user's profile has one more, the activity."""
    history: int = 24
    """Newest items of a user that recall and rank look at."""
    tokens: int = 8
    """Newest items of a user that pre-rank turns into query tokens."""
    width: int = 48
    """Of item embeddings, in all stages: pre-rank's and rank's start as recall's."""
    item_tokens: int = 4
    """Tokens that pre-rank computes ahead of each item."""
    rank_hidden: int = 64
    neighbours: int = 64
    """Items that co-visitation keeps for each item."""

    @property
    def profile(self) -> int:
        """Width of a user's profile: share of each attribute in the history, and activity."""
        return self.attributes + 1
