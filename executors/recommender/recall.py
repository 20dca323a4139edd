"""Recall: two towers and the exact top-k over all items.

A user tower over the history and an item tower meet in a dot product, as in Covington et al. 2016
("Deep Neural Networks for YouTube Recommendations") and Yi et al. 2019 ("Sampling-Bias-Corrected Neural
Modeling for Large Corpus Item Recommendations").
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
    RecencyMean,
    check_exact,
    snap,
    snap_positive,
)
from executors.recommender.sizes import Sizes

USER = Grid(bits=6, bound=4.0)
ITEM = Grid(bits=8, bound=2.0)
SCORE_BITS = USER.bits + ITEM.bits
BIAS = Grid(bits=SCORE_BITS, bound=16.0)


class TwoTowers(nn.Module):
    """Scores of items for a user: <user tower(history, profile), item tower(item)> + bias(item)."""

    attributes: Tensor

    def __init__(self, sizes: Sizes, attributes: Tensor) -> None:
        super().__init__()
        width = sizes.width
        check_exact(width + BIAS.bound / (USER.bound * ITEM.bound), USER, ITEM)
        self.register_buffer("attributes", attributes, persistent=False)
        self.embedding = ExactEmbedding(sizes.items, width)
        self.bias = nn.Parameter(torch.zeros(sizes.items))
        self.mean = RecencyMean(sizes.history)
        self.user_in = ExactLinear(2 * width + sizes.profile, 2 * width, ACTIVATION)
        self.user_out = ExactLinear(2 * width, width, ACTIVATION)
        self.item_out = ExactLinear(width + sizes.attributes, width, EMBEDDING)

    def users(self, history: Tensor, profile: Tensor) -> Tensor:
        """The user tower's (batch, width).

        ``history`` (batch, history) holds item numbers, newest first; ``profile`` is (batch, profile).
        """
        rows = self.embedding(history)
        present = (history < self.embedding.count).to(rows.dtype).unsqueeze(2)
        mean = self.mean(rows, present)
        hidden = self.user_in(torch.cat((mean, rows[:, 0], profile), dim=1))
        return snap(self.user_out(snap_positive(hidden, ACTIVATION)), USER)

    def items(self, items: Tensor) -> Tensor:
        """Item numbers (n,) to the item tower's (n, width)."""
        features = torch.cat((self.embedding(items), self.attributes[items]), dim=1)
        return snap(self.item_out(features), ITEM)

    def biases(self) -> Tensor:
        """(items,): what each item's score starts from."""
        return snap(self.bias, BIAS)
