"""Pre-rank: late interaction, the token-level MaxSim of Khattab and Zaharia 2020 ("ColBERT").

    score(user, item) = bias(item) - slope * log2(1 + place)
                        + gate * sum over query tokens q of max over item tokens t of <q, t>

Starting from the item's place (from 0) in the list that comes in, MaxSim learns what recall gets wrong. It
is the place and not the score, because scores mean something else wherever the list comes from: one way of
recall or several fused. The gate begins at 0, so that what has not learned leaves the order as it is.

The query tokens are the user's newest items, transformed with their place, and the profile; an item's
tokens depend on the item alone and are computed ahead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from executors.exact import (
    ACTIVATION,
    EMBEDDING,
    ExactEmbedding,
    ExactLinear,
    Grid,
    check_exact,
    snap,
)
from executors.recommender.sizes import Sizes

QUERY = Grid(bits=7, bound=1.0)
TOKEN = Grid(bits=8, bound=1.0)
SCORE = Grid(bits=14, bound=1023.0)
BIAS = Grid(bits=QUERY.bits + TOKEN.bits, bound=16.0)


class LateInteraction(nn.Module):
    """MaxSim between the tokens of users and items."""

    attributes: Tensor

    def __init__(self, sizes: Sizes, attributes: Tensor) -> None:
        super().__init__()
        width = sizes.width
        check_exact((sizes.tokens + 1) * width, QUERY, TOKEN)
        self.sizes = sizes
        self.register_buffer("attributes", attributes, persistent=False)
        self.embedding = ExactEmbedding(sizes.items, width)
        self.bias = nn.Parameter(torch.zeros(sizes.items))
        self.place = nn.Parameter(torch.zeros(sizes.tokens, width))
        self.slope = nn.Parameter(torch.ones(()))
        self.gate = nn.Parameter(torch.zeros(()))
        self.query = ExactLinear(width, width, EMBEDDING)
        self.profile_query = ExactLinear(sizes.profile, width, ACTIVATION)
        self.item = ExactLinear(width + sizes.attributes, sizes.item_tokens * width, EMBEDDING)

    def queries(self, history: Tensor, profile: Tensor) -> Tensor:
        """History (batch, >= tokens) and profile (batch, profile): query tokens (batch, tokens + 1, width).

        The token of a missing item is zero, and adds zero to the score.
        """
        recent = history[:, : self.sizes.tokens]
        present = (recent < self.embedding.count).unsqueeze(2)
        from_items = snap(self.query(self.embedding(recent)) + self.place, QUERY) * present
        from_profile = snap(self.profile_query(profile), QUERY)
        return torch.cat((from_items, from_profile.unsqueeze(1)), dim=1)

    def tokens(self, items: Tensor) -> Tensor:
        """Item numbers (...) to item tokens (..., item tokens * width), a token after another."""
        features = torch.cat((self.embedding(items), self.attributes[items]), dim=-1)
        return snap(self.item(features), TOKEN)

    def biases(self) -> Tensor:
        """(items,): what each item's score starts from."""
        return snap(self.bias, BIAS)

    def score(self, queries: Tensor, tokens: Tensor, biases: Tensor, places: Tensor) -> Tensor:
        """Scores (batch, n) of n candidates, on SCORE.

        Queries (batch, q, width) and tokens (batch, n, item tokens * width) from the methods above,
        ``biases`` (batch, n), and ``places`` (batch, n) or (n,): what :func:`from_places` makes of them.
        """
        batch, count, _ = tokens.shape
        rows = tokens.reshape(batch, count * self.sizes.item_tokens, self.sizes.width)
        likeness = torch.bmm(rows, queries.transpose(1, 2))
        best = likeness.view(batch, count, self.sizes.item_tokens, -1).amax(dim=2)
        return snap(best.sum(dim=2) * self.gate + biases + places * self.slope, SCORE)


def from_places(count: int) -> Tensor:
    """(count,): -log2(1 + place) of the places from 0, on SCORE."""
    places = torch.arange(count, dtype=torch.float64)
    return snap(-torch.log2(1.0 + places).float(), SCORE)
