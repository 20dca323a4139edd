"""The stages as an executor calls them: a batch of requests in, ever fewer candidates out.

A request is a user's number; history and profile are looked up in a table that each worker holds, as a
service would in its feature store, so that requests stay small. What passes between stages are
``candidates`` (item numbers, best first) and their ``scores``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from executors.recommender import covisits, prerank, rank, recall, rerank
from executors.recommender.cascade import Cascade
from executors.recommender.covisits import Covisits
from executors.recommender.evidence import evidence_of
from executors.recommender.keep import BRANCHES, StageName
from executors.recommender.ordering import excluded, top_k
from executors.recommender.prerank import LateInteraction, from_places
from executors.recommender.recall import TwoTowers
from executors.recommender.sequence import SelfAttention
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

    def __init__(self, model: TwoTowers | SelfAttention, users: Users, keep: int) -> None:
        self.model, self.users, self.keep = model, users, keep
        self.outputs: Mapping[str, TensorSpec] = outgoing(keep)
        self.vectors = model.items(_every_item(model.embedding.count, users)).t()
        self.biases = model.biases()

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``user`` (batch,) to ``candidates`` and ``scores`` (batch, keep)."""
        users = batch["user"]
        vectors = self.model.users(self.users.history[users], self.users.profile[users])
        scores = torch.addmm(self.biases, vectors, self.vectors)
        return _best_unseen(scores, self.users.seen_pairs(users), self.keep, recall.SCORE_BITS)


class CovisitStage:
    """The best ``keep`` items that go together with the history and that the user has not seen."""

    inputs: Mapping[str, TensorSpec] = USER_ALONE

    def __init__(self, model: Covisits, users: Users, keep: int) -> None:
        self.model, self.users, self.keep = model, users, keep
        self.outputs: Mapping[str, TensorSpec] = outgoing(keep)

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``user`` (batch,) to ``candidates`` and ``scores`` (batch, keep)."""
        users = batch["user"]
        scores = self.model.scores(self.users.history[users])
        return _best_unseen(scores, self.users.seen_pairs(users), self.keep, covisits.SCORE_BITS)


class PrerankStage:
    """The best ``keep`` of recall's candidates by MaxSim."""

    inputs: Mapping[str, TensorSpec] = USER_AND_LIST

    def __init__(self, model: LateInteraction, users: Users, keep: int) -> None:
        self.model, self.users, self.keep = model, users, keep
        self.outputs: Mapping[str, TensorSpec] = outgoing(keep)
        self.tokens = model.tokens(_every_item(model.embedding.count, users))
        self.biases = model.biases()

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``user`` (batch,) and ``candidates`` (batch, n), best first, to fewer and their scores."""
        users, candidates = batch["user"], _enough(batch, self.keep, "prerank")
        items = candidates.clamp_min(0)
        queries = self.model.queries(self.users.history[users], self.users.profile[users])
        places = from_places(candidates.shape[1]).to(candidates.device)
        scores = self.model.score(queries, self.tokens[items], self.biases[items], places)
        scores = scores.masked_fill(candidates < 0, excluded(prerank.SCORE.bits))
        return _pick(candidates, scores, top_k(scores, self.keep, prerank.SCORE.bits))


class RankStage:
    """The best ``keep`` of pre-rank's candidates by DCN-v2."""

    inputs: Mapping[str, TensorSpec] = USER_AND_LIST

    def __init__(self, cascade: Cascade, users: Users, keep: int) -> None:
        self.model, self.users, self.keep = cascade.rank, users, keep
        self.outputs: Mapping[str, TensorSpec] = outgoing(keep)
        self.evidence = evidence_of(cascade)
        self.items = self.model.items(_every_item(self.model.embedding.count, users))
        self.biases = self.model.biases()

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``user`` (batch,), ``candidates`` and ``scores`` (batch, n) to fewer and new ones."""
        users, candidates = batch["user"], _enough(batch, self.keep, "rank")
        history, profile = self.users.history[users], self.users.profile[users]
        items = candidates.clamp_min(0)
        scores = self.model.score(
            history,
            profile,
            self.items[items],
            self.model.attributes[items],
            self.biases[items],
            batch["scores"],
            self.evidence(history, profile, items),
        )
        scores = scores.masked_fill(candidates < 0, excluded(rank.SCORE.bits))
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
        picks = rerank.diversify(
            scores, self.vectors[candidates.clamp_min(0)], self.keep, self.trade, candidates >= 0
        )
        return _pick(candidates, scores, picks)


def build_stage(cascade: Cascade, users: Users, stage: StageName, keep: int) -> StageModel:
    """The stage of that name, on the device that ``users`` and the models are on.

    Raises ValueError where ``keep`` is more than can be had.
    """
    if keep < 1 or keep > cascade.sizes.items:
        raise ValueError(
            f"{stage} must keep from 1 to {cascade.sizes.items} candidates (the items), not {keep}"
        )
    if stage in BRANCHES:
        seen = int(users.seen_offsets.diff().max())
        if keep > cascade.sizes.items - seen:
            raise ValueError(
                f"{stage} cannot keep {keep} candidates: of {cascade.sizes.items} items some user has "
                f"seen {seen}, which leaves {cascade.sizes.items - seen}; keep fewer"
            )
    makers: dict[StageName, Callable[[], StageModel]] = {
        "recall": lambda: RecallStage(cascade.recall, users, keep),
        "sequence": lambda: RecallStage(cascade.sequence, users, keep),
        "covisits": lambda: CovisitStage(cascade.covisits, users, keep),
        "prerank": lambda: PrerankStage(cascade.prerank, users, keep),
        "rank": lambda: RankStage(cascade, users, keep),
        "rerank": lambda: RerankStage(cascade.recall, users, keep, cascade.trade),
    }
    return makers[stage]()


def _best_unseen(
    scores: Tensor, seen: tuple[Tensor, Tensor], keep: int, bits: int
) -> Mapping[str, Tensor]:
    """Of all items' scores (batch, items), which are spoilt, the best that are not among the ``seen``."""
    scores[seen] = excluded(bits)
    places = top_k(scores, keep, bits)
    return {"candidates": places, "scores": scores.gather(1, places)}


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
