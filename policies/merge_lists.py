"""What merges of ranked lists have in common: candidates of every branch in, one list of the best out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from policies.knobs import knob
from policies.merge import Branches, Fitted, Merge, MergeError, Present, tensor_of
from policies.ranked_lists import NO_ITEM, Ids, Scores, side_by_side, without_repeats
from policies.tensors import Specs, TensorSpec

_WHOLE = ("int64", "int32")
_FLOATS = ("float64", "float32", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMerge(Merge):
    """Merges lists of candidates, best first, into the list of the best of all; every item stands once.

    A missing branch is left out. A candidate of a negative number, or whose score is not a number, is none.
    Where there are too few, the list ends with candidate -1 and a score of minus infinity. Of equal scores
    the lower item number comes first.
    """

    candidates: str = knob(
        "the tensor of a branch's item numbers, best first", default="candidates"
    )
    scores: str = knob("the tensor of their scores, the higher the better", default="scores")
    keep: int | None = knob(
        "how many candidates the merged list holds; absent is as many as the longest of the branches",
        default=None,
        ge=1,
    )

    reads_scores: ClassVar[bool] = True
    """Whether branches must put out scores."""

    def width(self, widths: Sequence[int]) -> int:
        """``keep``, or as many as the longest."""
        return self.keep or max(widths)

    def fit(
        self,
        branches: Mapping[str, Specs],
        wanted: Collection[str],
        common: Collection[str] = (),  # noqa: ARG002  (candidates in common may be scored apart)
    ) -> Fitted:
        """See :meth:`Merge.fit`."""
        for branch in branches:
            self._check_branch(branches, branch)
        longest = max(specs[self.candidates].shape[0] for specs in branches.values())
        keep = self.keep or longest
        gives = {
            self.candidates: TensorSpec((keep,), "int64"),
            self.scores: TensorSpec((keep,), "float32"),
        }
        if not any(name in wanted for name in gives):
            raise MergeError(
                f"it makes {self.candidates!r} and {self.scores!r}, and the stage takes neither; name what it"
                " takes by merge.candidates and merge.scores"
            )
        reads = (self.candidates, self.scores) if self.reads_scores else (self.candidates,)
        return Fitted(
            dict.fromkeys(branches, (*reads, *self._more())),
            {name: spec for name, spec in gives.items() if name in wanted},
        )

    def merged(self, branches: Branches, present: Present) -> dict[str, NDArray[Any]]:
        """See :meth:`Merge.merged`."""
        keep = self.keep or max(of[self.candidates].shape[1] for of in branches.values())
        lists = {}
        for branch, of in branches.items():
            there = present[branch][:, np.newaxis]
            if self.reads_scores:
                there = there & ~np.isnan(of[self.scores])
            lists[branch] = np.where(there, of[self.candidates].astype(np.int64), NO_ITEM)
        ids, scores = self._list(lists, branches, present, keep)
        return {self.candidates: ids, self.scores: scores}

    def _more(self) -> tuple[str, ...]:
        """Further tensors that it reads of every branch."""
        return ()

    @abstractmethod
    def _list(
        self, lists: Mapping[str, Ids], branches: Branches, present: Present, keep: int
    ) -> tuple[Ids, Scores]:
        """The best ``keep`` of the candidates (rows, k_i) by branch, ``NO_ITEM`` where there is none."""

    def _check_branch(self, branches: Mapping[str, Specs], branch: str) -> None:
        ids = tensor_of(branches, branch, self.candidates, "candidates")
        if len(ids.shape) != 1 or ids.dtype not in _WHOLE:
            raise MergeError(
                f"branch {branch} puts out {self.candidates!r} as {ids.dtype} of shape {ids.shape} a request;"
                " a list of item numbers is int64 of one size"
            )
        if not self.reads_scores:
            return
        scores = tensor_of(branches, branch, self.scores, "scores")
        if scores.shape != ids.shape or scores.dtype not in _FLOATS:
            raise MergeError(
                f"branch {branch} puts out {self.scores!r} as {scores.dtype} of shape {scores.shape} for"
                f" {self.candidates!r} of shape {ids.shape}; give one float32 a candidate"
            )


def highest_once(
    lists: Mapping[str, Ids], scores: Mapping[str, Scores]
) -> tuple[Ids, NDArray[np.float64], NDArray[np.intp]]:
    """All candidates, best first, an item that several branches have at its highest score; their scores; and
    their places in the branches' lists put one after another. (rows, n) each.
    """
    ids = side_by_side(list(lists.values()))
    flat = side_by_side([np.asarray(scores[branch], np.float64) for branch in lists])
    order = np.lexsort((ids, -flat, ids < 0), axis=1)
    ids = without_repeats(np.take_along_axis(ids, order, axis=1))
    return ids, np.take_along_axis(flat, order, axis=1), order
