"""Recall by the order of the history: causal self-attention, after Kang and McAuley 2018 ("SASRec").

    a_ij = relu(<q_i, k_j> + r(i - j)) / (1 + sum over j' <= i of relu(<q_i, k_j'> + r(i - j')))
    y_i  = x_i + sum over j <= i of a_ij v_j,    z_i = y_i + feed forward(y_i)

x are the items of the history, r is learned by distance (Shaw et al. 2018), and an item's score is
<out(z of the newest), item> + bias(item). Weights are ReLU's shares instead of a softmax's (Wortsman et
al. 2023, "Replacing softmax with ReLU in vision transformers"): the exponential is rounded differently in
different places of a tensor, and an answer must not depend on its batch. For the same reason values are
kept within bounds by their grid rather than by layer normalisation.
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
    snap_positive,
)
from executors.recommender.recall import BIAS, ITEM, USER
from executors.recommender.sizes import Sizes

ATTENTION = Grid(bits=4, bound=4.0)
"""Of queries and keys."""
WEIGHT = Grid(bits=9, bound=1.0)
DISTANCE = Grid(bits=2 * ATTENTION.bits, bound=8.0)


class SelfAttention(nn.Module):
    """Scores of items for a user: <what attention makes of the history, item> + bias(item)."""

    attributes: Tensor

    def __init__(self, sizes: Sizes, attributes: Tensor) -> None:
        super().__init__()
        width = sizes.width
        check_exact(width + BIAS.bound / (USER.bound * ITEM.bound), USER, ITEM)
        most = width + DISTANCE.bound / ATTENTION.bound**2
        check_exact(sizes.history * most, ATTENTION, ATTENTION)
        check_exact(sizes.history, WEIGHT, ACTIVATION)
        self.register_buffer("attributes", attributes, persistent=False)
        self.embedding = ExactEmbedding(sizes.items, width)
        self.bias = nn.Parameter(torch.zeros(sizes.items))
        self.distance = nn.Parameter(torch.zeros(sizes.history))
        self.query = ExactLinear(width, width, EMBEDDING)
        self.key = ExactLinear(width, width, EMBEDDING)
        self.value = ExactLinear(width, width, EMBEDDING)
        self.hidden = ExactLinear(width, 2 * width, ACTIVATION)
        self.forward_out = ExactLinear(2 * width, width, ACTIVATION)
        self.out = ExactLinear(width, width, ACTIVATION)
        self.item_out = ExactLinear(width + sizes.attributes, width, EMBEDDING)

    def users(self, history: Tensor, profile: Tensor) -> Tensor:
        """(batch, width) from ``history`` (batch, history), newest first; ``profile`` is not looked at."""
        del profile
        newest = self._states(history.flip(1), last=True)
        return snap(self.out(newest[:, 0]), USER)

    def everywhere(self, sequence: Tensor) -> Tensor:
        """Items (batch, places), oldest first, to what stands for the user after each: (batch, places,
        width). What comes later does not change it.
        """
        return snap(self.out(self._states(sequence, last=False)), USER)

    def items(self, items: Tensor) -> Tensor:
        """Item numbers (n,) to (n, width)."""
        features = torch.cat((self.embedding(items), self.attributes[items]), dim=1)
        return snap(self.item_out(features), ITEM)

    def biases(self) -> Tensor:
        """(items,): what each item's score starts from."""
        return snap(self.bias, BIAS)

    def _states(self, sequence: Tensor, *, last: bool) -> Tensor:
        """Z (batch, places, width), or (batch, 1, width) of the last place."""
        rows = self.embedding(sequence)
        places = rows.shape[1]
        ends = torch.arange(places - 1 if last else 0, places, device=rows.device)
        asking = rows[:, -1:] if last else rows
        keys = snap(self.key(rows), ATTENTION)
        likeness = torch.bmm(snap(self.query(asking), ATTENTION), keys.transpose(1, 2))
        apart = ends[:, None] - torch.arange(places, device=rows.device)[None, :]
        likeness = likeness + snap(self.distance, DISTANCE)[apart.clamp_min(0)]
        present = (sequence < self.embedding.count).unsqueeze(1) & (apart >= 0)
        shares = torch.relu(likeness) * present
        shares = snap(shares / (shares.sum(dim=2, keepdim=True) + 1.0), WEIGHT)
        values = snap(self.value(rows), ACTIVATION)
        state = snap(asking + torch.bmm(shares, values), ACTIVATION)
        hidden = snap_positive(self.hidden(state), ACTIVATION)
        return snap(state + self.forward_out(hidden), ACTIVATION)
