"""The three ways of recall as one list: reciprocal rank fusion, as the pipeline's merge does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from policies.ranked_lists import fused

CONSTANT = 60.0
WEIGHTS = (1.0, 0.5, 1.0)
"""Of towers, sequence and co-visitation: what ``configs/recommender3.yaml`` merges with."""


def fuse(lists: Sequence[Tensor], keep: int) -> tuple[Tensor, Tensor]:
    """Candidates and scores (batch, keep) from lists of candidates (batch, n), best first."""
    found, scores = fused([each.numpy() for each in lists], WEIGHTS, CONSTANT, keep)
    return torch.from_numpy(found), torch.from_numpy(scores)


class FusedRecall:
    """All ways of recall one after another, and their lists fused, as one stage."""

    def __init__(
        self,
        branches: Sequence[Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]],
        keep: int,
    ) -> None:
        self.branches, self.keep = branches, keep

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``user`` (batch,) to ``candidates`` and ``scores`` (batch, keep)."""
        found = [branch(batch)["candidates"] for branch in self.branches]
        candidates, scores = fuse(found, self.keep)
        return {"candidates": candidates, "scores": scores}
