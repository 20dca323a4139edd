"""The four stages as an executor calls them: a batch of requests in, ever fewer candidates out.

A request is a user's number; history and profile are looked up in a table that each worker holds, as a
service would in its feature store, so that requests stay small. What passes between stages are
``candidates`` (item numbers, best first) and their ``scores``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from executors.recommender import prerank, rank, recall, rerank
from executors.recommender.cascade import Cascade
from executors.recommender.keep import StageName
from executors.recommender.ordering import excluded, top_k
from executors.recommender.prerank import LateInteraction
from executors.recommender.rank import DeepCross
from executors.recommender.recall import TwoTowers
from executors.recommender.users import UserTable
from executors.stage_model import StageModel, TensorSpec

USER_ALONE = {"user": TensorSpec((), "int64")}
LIST_ALONE = {"candidates": TensorSpec((-1,), "int64"), "scores": TensorSpec((-1,), "float32")}
USER_AND_LIST = USER_ALONE | LIST_ALONE


def outgoing(keep: int) -> dict[str, TensorSpec]:
    """What every stage puts out."""
    return {"candidates": TensorSpec((keep,), "int64"), "scores": TensorSpec((keep,), "float32")}


class Users:
    """A user table as tensors on a device."""

    def __init__(self, table: UserTable, device: str = "cpu") -> None:
        self.history = torch.from_numpy(table.contexts.history).long().to(device)
        self.profile = torch.from_numpy(table.contexts.profile).to(device)
        self.seen_offsets = torch.from_numpy(table.seen_offsets).to(device)
        self.seen = torch.from_numpy(table.seen).long().to(device)

    def seen_pairs(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Row in the batch and item of everything that the users (batch,) have seen."""
        starts = self.seen_offsets[users]
        counts = self.seen_offsets[users + 1] - starts
        rows = torch.repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        within = torch.arange(rows.shape[0], device=rows.device) - before[rows]
        return rows, self.seen[starts[rows] + within]


class RecallStage:
    """The best ``keep`` items that the user has not seen."""

    inputs: Mapping[str, TensorSpec] = USER_ALONE

    def __init__(self, model: TwoTowers, users: Users, keep: int) -> None:
        self.model, self.users, self.keep = model, users, keep
        self.outputs: Mapping[str, TensorSpec] = outgoing(keep)
        self.vectors = model.items(_every_item(model.embedding.count, users)).t()
        self.biases = model.biases()

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``user`` (batch,) to ``candidates`` and ``scores`` (batch, keep)."""
        users = batch["user"]
        vectors = self.model.users(self.users.history[users], self.users.profile[users])
        scores = torch.addmm(self.biases, vectors, self.vectors)
        scores[self.users.seen_pairs(users)] = excluded(recall.SCORE_BITS)
        places = top_k(scores, self.keep, recall.SCORE_BITS)
        return {"candidates": places, "scores": scores.gather(1, places)}


class PrerankStage:
    """The best ``keep`` of recall's candidates by MaxSim."""

    inputs: Mapping[str, TensorSpec] = USER_AND_LIST

    def __init__(self, model: LateInteraction, users: Users, keep: int) -> None:
        self.model, self.users, self.keep = model, users, keep
        self.outputs: Mapping[str, TensorSpec] = outgoing(keep)
        self.tokens = model.tokens(_every_item(model.embedding.count, users))
        self.biases = model.biases()

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``user`` (batch,), ``candidates`` and ``scores`` (batch, n) to fewer and new ones."""
        users, candidates = batch["user"], _enough(batch, self.keep, "prerank")
        queries = self.model.queries(self.users.history[users], self.users.profile[users])
        scores = self.model.score(
            queries, self.tokens[candidates], self.biases[candidates], batch["scores"]
        )
        return _pick(candidates, scores, top_k(scores, self.keep, prerank.SCORE.bits))


class RankStage:
    """The best ``keep`` of pre-rank's candidates by DCN-v2."""

    inputs: Mapping[str, TensorSpec] = USER_AND_LIST

    def __init__(self, model: DeepCross, users: Users, keep: int) -> None:
        self.model, self.users, self.keep = model, users, keep
        self.outputs: Mapping[str, TensorSpec] = outgoing(keep)
        self.items = model.items(_every_item(model.embedding.count, users))
        self.biases = model.biases()

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``user`` (batch,), ``candidates`` and ``scores`` (batch, n) to fewer and new ones."""
        users, candidates = batch["user"], _enough(batch, self.keep, "rank")
        scores = self.model.score(
            self.users.history[users],
            self.users.profile[users],
            self.items[candidates],
            self.model.attributes[candidates],
            self.biases[candidates],
            batch["scores"],
        )
        return _pick(candidates, scores, top_k(scores, self.keep, rank.SCORE.bits))


class RerankStage:
    """The final list of ``keep`` by MMR, in the order of picking."""

    inputs: Mapping[str, TensorSpec] = LIST_ALONE

    def __init__(self, model: TwoTowers, users: Users, keep: int, trade: float) -> None:
        self.keep, self.trade = keep, trade
        self.outputs: Mapping[str, TensorSpec] = outgoing(keep)
        items = _every_item(model.embedding.count, users)
        self.vectors = rerank.unit_vectors(model.items(items))

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``candidates`` and ``scores`` (batch, n) to fewer; the scores stay rank's."""
        candidates, scores = _enough(batch, self.keep, "rerank"), batch["scores"]
        picks = rerank.diversify(scores, self.vectors[candidates], self.keep, self.trade)
        return _pick(candidates, scores, picks)


def build_stage(cascade: Cascade, users: Users, stage: StageName, keep: int) -> StageModel:
    """The stage of that name, on the device that ``users`` and the models are on.

    Raises ValueError where ``keep`` is more than can be had.
    """
    if keep < 1 or keep > cascade.sizes.items:
        raise ValueError(
            f"{stage} must keep from 1 to {cascade.sizes.items} candidates (the items), not {keep}"
        )
    if stage == "recall":
        seen = int(users.seen_offsets.diff().max())
        if keep > cascade.sizes.items - seen:
            raise ValueError(
                f"recall cannot keep {keep} candidates: of {cascade.sizes.items} items some user has "
                f"seen {seen}, which leaves {cascade.sizes.items - seen}; keep fewer"
            )
        return RecallStage(cascade.recall, users, keep)
    if stage == "prerank":
        return PrerankStage(cascade.prerank, users, keep)
    if stage == "rank":
        return RankStage(cascade.rank, users, keep)
    return RerankStage(cascade.recall, users, keep, cascade.trade)


def _every_item(count: int, users: Users) -> Tensor:
    return torch.arange(count, device=users.history.device)


def _enough(batch: Mapping[str, Tensor], keep: int, stage: StageName) -> Tensor:
    candidates = batch["candidates"]
    if candidates.shape[1] < keep:
        raise ValueError(
            f"{stage} keeps {keep} candidates but the stage before passes on {candidates.shape[1]}; "
            f"raise that one's keep or lower {stage}'s"
        )
    return candidates


def _pick(candidates: Tensor, scores: Tensor, places: Tensor) -> Mapping[str, Tensor]:
    return {"candidates": candidates.gather(1, places), "scores": scores.gather(1, places)}
