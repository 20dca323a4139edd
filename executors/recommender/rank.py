"""Rank: DCN-v2 over user, item and cross features (Wang et al. 2021, "DCN V2", parallel structure).

x_{l+1} = x_0 * (W_l x_l + b_l) + x_l            (the paper's equation 1)
score   = w . [x_L ; deep(x_0)] + b + bias(item) + slope * pre-rank's score + trust . evidence

The last two terms are a conditional logit of their own (McFadden 1974), fitted before the network, which
begins with w = 0 and so learns what they get wrong.
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

CROSS_LAYERS = 2
SCORE = Grid(bits=14, bound=1023.0)
BIAS = Grid(bits=SCORE.bits, bound=16.0)
TRUST = Grid(bits=7, bound=16.0)
LIKENESS = 4
"""Cross features: mean and highest likeness to the history, shared attributes, pre-rank's score."""
EVIDENCE = 3
"""What each way of recall says of the item."""


class DeepCross(nn.Module):
    """Scores a few candidates of a user with everything known about both."""

    attributes: Tensor

    def __init__(self, sizes: Sizes, attributes: Tensor) -> None:
        super().__init__()
        width = sizes.width
        check_exact(width, EMBEDDING, ACTIVATION)
        check_exact(EVIDENCE, TRUST, ACTIVATION)
        check_exact(sizes.attributes, Grid(bits=0, bound=1.0), ACTIVATION)
        self.sizes = sizes
        self.features = 3 * width + LIKENESS + EVIDENCE
        self.register_buffer("attributes", attributes, persistent=False)
        self.embedding = ExactEmbedding(sizes.items, width)
        self.bias = nn.Parameter(torch.zeros(sizes.items))
        self.mean = RecencyMean(sizes.history)
        self.user = ExactLinear(width + sizes.profile, width, ACTIVATION)
        self.item = ExactLinear(width + sizes.attributes, width, EMBEDDING)
        self.cross = nn.ModuleList(
            ExactLinear(self.features, self.features, ACTIVATION) for _ in range(CROSS_LAYERS)
        )
        self.deep_in = ExactLinear(self.features, sizes.rank_hidden, ACTIVATION)
        self.deep_out = ExactLinear(sizes.rank_hidden, sizes.rank_hidden // 2, ACTIVATION)
        self.out = ExactLinear(self.features + sizes.rank_hidden // 2, 1, ACTIVATION)
        nn.init.zeros_(self.out.weight)
        self.slope = nn.Parameter(torch.ones(()))
        self.trust = nn.Parameter(torch.zeros(EVIDENCE))

    def items(self, items: Tensor) -> Tensor:
        """Item numbers (...) to (..., 2 * width): the embedding and the item's transformed features."""
        rows = self.embedding(items)
        features = torch.cat((rows, self.attributes[items]), dim=-1)
        return torch.cat((rows, snap(self.item(features), ACTIVATION)), dim=-1)

    def biases(self) -> Tensor:
        """(items,): what each item's score starts from."""
        return snap(self.bias, BIAS)

    def score(
        self,
        history: Tensor,
        profile: Tensor,
        items: Tensor,
        attributes: Tensor,
        biases: Tensor,
        earlier: Tensor,
        evidence: Tensor,
    ) -> Tensor:
        """Scores (batch, n) of n candidates, on SCORE.

        ``history`` (batch, history), ``profile`` (batch, profile), ``items`` (batch, n, 2 * width) from
        :meth:`items`, ``attributes`` (batch, n, attributes), ``biases`` (batch, n), ``earlier``
        (batch, n): the scores that pre-rank gave, ``evidence`` (batch, n, EVIDENCE) on ACTIVATION. What has
        not learned leaves the order as it is.
        """
        first = self._first(history, profile, items, attributes, earlier, evidence)
        crossed = first
        for layer in self.cross:
            crossed = snap(first * layer(crossed) + crossed, ACTIVATION)
        deep = snap_positive(self.deep_in(first), ACTIVATION)
        deep = snap_positive(self.deep_out(deep), ACTIVATION)
        score = self.out(torch.cat((crossed, deep), dim=2)).squeeze(2)
        return snap(score + biases + self.prior(earlier, evidence), SCORE)

    def prior(self, earlier: Tensor, evidence: Tensor) -> Tensor:
        """(batch, n): what the score is before the network has a say."""
        says = (evidence * snap(self.trust, TRUST)).sum(dim=2)
        return earlier * self.slope + says

    def _first(
        self,
        history: Tensor,
        profile: Tensor,
        items: Tensor,
        attributes: Tensor,
        earlier: Tensor,
        evidence: Tensor,
    ) -> Tensor:
        """x_0 (batch, n, features)."""
        width, count = self.sizes.width, items.shape[1]
        past = self.embedding(history)
        present = (history < self.embedding.count).to(past.dtype).unsqueeze(2)
        mean = self.mean(past, present)
        user = snap(self.user(torch.cat((mean, profile), dim=1)), ACTIVATION)
        rows, item = items[:, :, :width], items[:, :, width:]
        likeness = torch.bmm(rows, past.transpose(1, 2))
        shared = torch.bmm(attributes, profile[:, :-1].unsqueeze(2)).squeeze(2)
        features = torch.stack(
            (
                torch.bmm(rows, mean.unsqueeze(2)).squeeze(2),
                likeness.amax(dim=2),
                shared,
                earlier * 0.25,
            ),
            dim=2,
        )
        return torch.cat(
            (
                user.unsqueeze(1).expand(-1, count, -1),
                item,
                snap(rows * mean.unsqueeze(1), ACTIVATION),
                snap(features, ACTIVATION),
                evidence,
            ),
            dim=2,
        )
