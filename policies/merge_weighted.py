"""Merging by a weighted sum of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from policies.knobs import knob
from policies.merge import Branches, Present, check_branches
from policies.merge_lists import ListMerge
from policies.ranked_lists import NO_ITEM, Ids, Scores, best, side_by_side, summed, without_repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted(ListMerge):
    """Candidates by the weighted sum of their scores over the branches that have them (CombSUM of E. Fox and
    J. Shaw, 1994), each branch's scores brought to 0 .. 1 first (J. Lee, "Analyses of multiple evidence
    combination", SIGIR 1997).
    """

    kind: ClassVar[str] = "weighted"

    weights: Mapping[str, float] | None = knob(
        "by branch, how much its scores count; absent is 1", default=None, ge=0, hashed=False
    )
    scale: Literal["list", "none"] = knob(
        "`list` brings a request's scores of a branch to 0 .. 1, lowest to highest; `none` takes them as they"
        " are",
        default="list",
    )

    def check(self, branches: Sequence[str]) -> None:
        """Weights are of branches that are there."""
        ListMerge.check(self, branches)
        check_branches("weights", self.weights or {}, branches)

    def _list(
        self,
        lists: Mapping[str, Ids],
        branches: Branches,
        present: Present,  # noqa: ARG002  (the lists of what is missing are empty)
        keep: int,
    ) -> tuple[Ids, Scores]:
        ids, gains = [], []
        for branch, listed in lists.items():
            ids.append(without_repeats(listed))
            scores = np.asarray(branches[branch][self.scores], np.float64)
            if self.scale == "list":
                scores = scaled(scores, ids[-1] != NO_ITEM)
            weight = (self.weights or {}).get(branch, 1.0)
            counted = (ids[-1] != NO_ITEM) & (weight > 0)
            gains.append(np.where(counted, scores, 0.0) * weight)
        return best(*summed(side_by_side(ids), side_by_side(gains)), keep)


def scaled(scores: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores (rows, n) from 0, the lowest of a row's that are there, to 1, its highest.

    Where all are equal, each is 1. Infinite ones count as the highest or the lowest.
    """
    counted = there & np.isfinite(scores)
    low = np.where(counted, scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    high = np.where(counted, scores, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    spread = high - low
    clipped = np.clip(np.where(there, scores, 0.0), low, high)
    several = spread > 0
    return np.where(several, (clipped - low) / np.where(several, spread, 1.0), 1.0)
