"""Merging by reciprocal rank fusion: by places, not by scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from policies.knobs import knob
from policies.merge import Branches, Present, check_branches
from policies.merge_lists import ListMerge
from policies.ranked_lists import Ids, Scores, fused


@dataclass(frozen=True, slots=True, kw_only=True)
class Rrf(ListMerge):
    """Candidates by the sum of weight / (constant + place) over the branches that have them; their scores
    are not looked at, and may mean different things (G. Cormack, C. Clarke, S. Buettcher, SIGIR 2009).
    """

    kind: ClassVar[str] = "rrf"

    constant: float = knob(
        "the larger, the less first places count before later ones", default=60.0, ge=0
    )
    weights: Mapping[str, float] | None = knob(
        "by branch, how much its places count; absent is 1", default=None, ge=0, hashed=False
    )
    stand_in: Mapping[str, tuple[int, ...]] | None = knob(
        "by branch, the items, best first, that stand in for its list where that is missing; absent is none",
        default=None,
        ge=0,
        hashed=False,
    )

    reads_scores: ClassVar[bool] = False

    def check(self, branches: Sequence[str]) -> None:
        """Weights and stand-ins are of branches that are there."""
        ListMerge.check(self, branches)
        check_branches("weights", self.weights or {}, branches)
        check_branches("stand_in", self.stand_in or {}, branches)

    def _list(
        self,
        lists: Mapping[str, Ids],
        branches: Branches,  # noqa: ARG002  (places alone count)
        present: Present,
        keep: int,
    ) -> tuple[Ids, Scores]:
        listed, weights = [], []
        for branch, ids in lists.items():
            weight = (self.weights or {}).get(branch, 1.0)
            listed.append(ids)
            weights.append(weight)
            stand_in = (self.stand_in or {}).get(branch)
            if stand_in:
                missing = ~present[branch][:, np.newaxis]
                listed.append(np.where(missing, np.array([stand_in], np.int64), -1))
                weights.append(weight)
        return fused(listed, weights, self.constant, keep)
