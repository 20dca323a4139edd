"""Merging by maximal marginal relevance: good candidates that are not all alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from policies.knobs import knob
from policies.merge import Branches, MergeError, Present, tensor_of
from policies.merge_lists import ListMerge, highest_once
from policies.merge_weighted import scaled
from policies.ranked_lists import NO_ITEM, NO_SCORE, Ids, Scores
from policies.tensors import Specs

_SHORTEST = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Mmr(ListMerge):
    """Candidates picked one by one: each has the most relevance less likeness to what is picked already
    (J. Carbonell, J. Goldstein, "The use of MMR", SIGIR 1998).

        next = argmax over c left of   trade * relevance(c) - (1 - trade) * max over picked p of cosine(c, p)

    Relevance is the score, brought to 0 .. 1 over all of a request's candidates; scores must mean the same in
    every branch, and go on as they are, in the order of picking.
    """

    kind: ClassVar[str] = "mmr"

    trade: float = knob(
        "1 goes by the scores alone, 0 by unlikeness to what is picked", default=0.7, ge=0, le=1
    )
    vectors: str = knob("the tensor of the candidates' vectors, a row each", default="vectors")

    def _more(self) -> tuple[str, ...]:
        return (self.vectors,)

    def _check_branch(self, branches: Mapping[str, Specs], branch: str) -> None:
        ListMerge._check_branch(self, branches, branch)
        ids = branches[branch][self.candidates]
        spec = tensor_of(branches, branch, self.vectors, "vectors")
        first, width = next(
            (name, specs[self.vectors].shape[-1:])
            for name, specs in branches.items()
            if self.vectors in specs
        )
        if spec.shape[:-1] != ids.shape or not spec.dtype.startswith("float"):
            raise MergeError(
                f"branch {branch} puts out {self.vectors!r} as {spec.dtype} of shape {spec.shape} for"
                f" {self.candidates!r} of shape {ids.shape}; give a float32 vector a candidate"
            )
        if spec.shape[-1:] != width:
            raise MergeError(
                f"branch {branch} puts out {self.vectors!r} of width {spec.shape[-1]}, branch {first} of"
                f" {width[0]}; likeness needs vectors of one model"
            )

    def _list(
        self,
        lists: Mapping[str, Ids],
        branches: Branches,
        present: Present,  # noqa: ARG002  (the lists of what is missing are empty)
        keep: int,
    ) -> tuple[Ids, Scores]:
        scores = {branch: of[self.scores] for branch, of in branches.items()}
        ids, ranked, order = highest_once(lists, scores)
        vectors = np.concatenate([of[self.vectors] for of in branches.values()], axis=1)
        vectors = np.take_along_axis(vectors, order[:, :, np.newaxis], axis=1)
        return diverse(ids, ranked, vectors, self.trade, keep)


def diverse(
    ids: Ids, scores: NDArray[np.float64], vectors: Scores, trade: float, keep: int
) -> tuple[Ids, NDArray[np.float32]]:
    """MMR's ``keep`` picks of candidates (rows, n) with scores (rows, n) and vectors (rows, n, width).

    Of equals the earlier is picked. Returns ids and scores, (rows, keep) each. Loops over the picks, never
    over requests.
    """
    rows = np.arange(len(ids))
    there = ids != NO_ITEM
    exact = np.asarray(vectors, np.float64)
    length = np.linalg.norm(exact, axis=2, keepdims=True)
    unit = np.where(np.isfinite(length), exact, 0.0) / np.clip(
        length, _SHORTEST, np.finfo(float).max
    )
    left = np.where(there, trade * scaled(scores, there), -np.inf)
    closest = np.full(ids.shape, -np.inf)
    found = np.full((len(ids), keep), NO_ITEM, np.int64)
    valued = np.full((len(ids), keep), NO_SCORE, np.float32)
    for turn in range(min(keep, ids.shape[1])):
        worth = left if turn == 0 else left - (1.0 - trade) * closest
        pick = worth.argmax(axis=1)
        picked = left[rows, pick] > -np.inf
        found[:, turn] = np.where(picked, ids[rows, pick], NO_ITEM)
        valued[:, turn] = np.where(picked, scores[rows, pick], NO_SCORE)
        # Elementwise products and sums along one axis: a row's do not depend on the others.
        likeness = (unit * unit[rows, pick][:, np.newaxis, :]).sum(axis=2)
        closest = np.maximum(closest, likeness)
        left[rows, pick] = -np.inf
    return found, valued
