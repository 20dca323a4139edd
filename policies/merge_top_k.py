"""Merging by score: the best of all branches' candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from policies.merge import Branches, Present
from policies.merge_lists import ListMerge, highest_once
from policies.ranked_lists import Ids, Scores, best


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK(ListMerge):
    """The candidates of the highest scores, which must mean the same in every branch; an item that several
    have counts at its highest (CombMAX of E. Fox and J. Shaw, "Combination of multiple searches", TREC-2,
    1994).
    """

    kind: ClassVar[str] = "top_k"

    def _list(
        self,
        lists: Mapping[str, Ids],
        branches: Branches,
        present: Present,  # noqa: ARG002  (the lists of what is missing are empty)
        keep: int,
    ) -> tuple[Ids, Scores]:
        scores = {branch: of[self.scores] for branch, of in branches.items()}
        return best(*highest_once(lists, scores)[:2], keep)
