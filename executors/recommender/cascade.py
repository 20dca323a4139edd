"""The models of all stages, as they are trained and kept together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from executors.recommender.covisits import Covisits, no_covisits
from executors.recommender.data import Interactions
from executors.recommender.prerank import LateInteraction
from executors.recommender.rank import DeepCross
from executors.recommender.recall import TwoTowers
from executors.recommender.sequence import SelfAttention
from executors.recommender.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Cascade:
    """The models of one recommender; re-rank works on recall's item vectors and a trade-off."""

    sizes: Sizes
    recall: TwoTowers
    sequence: SelfAttention
    covisits: Covisits
    prerank: LateInteraction
    rank: DeepCross
    trade: float
    """MMR's weight of relevance against diversity, 0 to 1."""

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What has been learned, by stage."""
        return {
            "recall": self.recall,
            "sequence": self.sequence,
            "prerank": self.prerank,
            "rank": self.rank,
        }

    def to(self, device: str) -> Cascade:
        """The same on a device; modules are moved themselves."""
        for module in self.modules.values():
            module.to(device)
        return replace(self, covisits=self.covisits.to(device))


def new_cascade(sizes: Sizes, attributes: Tensor, trade: float) -> Cascade:
    """Untrained models; ``attributes`` is (items + 1, attributes), its last row the padding's zeros."""
    return Cascade(
        sizes=sizes,
        recall=TwoTowers(sizes, attributes),
        sequence=SelfAttention(sizes, attributes),
        covisits=no_covisits(sizes),
        prerank=LateInteraction(sizes, attributes),
        rank=DeepCross(sizes, attributes),
        trade=trade,
    )


def sizes_of(interactions: Interactions) -> Sizes:
    """The sizes that fit the data."""
    return Sizes(items=interactions.item_count, attributes=interactions.attributes.shape[1])


def padded(attributes: Tensor) -> Tensor:
    """(items + 1, attributes): the items' (items, attributes) and a row of zeros for the padding."""
    return torch.cat((attributes, attributes.new_zeros(1, attributes.shape[1])))
