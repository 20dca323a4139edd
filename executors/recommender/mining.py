"""Candidate lists of trained stages at training interactions, with what else the user meets left out."""

from __future__ import annotations

import torch
from torch import Tensor

from executors.recommender import prerank, recall
from executors.recommender.examples import CandidateLists, Examples, candidate_lists
from executors.recommender.ordering import excluded, top_k
from executors.recommender.prerank import LateInteraction
from executors.recommender.recall import TwoTowers
from executors.recommender.stages import Users

_BATCH = 64


def recalled(model: TwoTowers, examples: Examples, met: Users, keep: int) -> CandidateLists:
    """Recall's best ``keep`` at each example, less all else that ``met`` says its user ever meets."""
    parts: list[tuple[Tensor, Tensor]] = []
    with torch.inference_mode():
        vectors = model.items(torch.arange(model.embedding.count)).t()
        for rows in torch.split(torch.arange(len(examples)), _BATCH):
            users = model.users(examples.history[rows], examples.profile[rows])
            scores = torch.addmm(model.biases(), users, vectors)
            positives = examples.positives[rows, None]
            own = scores.gather(1, positives)
            scores[met.seen_pairs(examples.users[rows])] = excluded(recall.SCORE_BITS)
            scores.scatter_(1, positives, own)
            places = top_k(scores, keep, recall.SCORE_BITS)
            parts.append((places, scores.gather(1, places)))
    return candidate_lists(examples, parts)


def preranked(model: LateInteraction, lists: CandidateLists, keep: int) -> CandidateLists:
    """Pre-rank's best ``keep`` of recall's candidates at each example."""
    parts: list[tuple[Tensor, Tensor]] = []
    examples = lists.examples
    with torch.inference_mode():
        for rows in torch.split(torch.arange(len(examples)), _BATCH):
            columns = lists.candidates[rows]
            queries = model.queries(examples.history[rows], examples.profile[rows])
            tokens, biases = model.tokens(columns), model.biases()[columns]
            scores = model.score(queries, tokens, biases, lists.scores[rows])
            places = top_k(scores, keep, prerank.SCORE.bits)
            parts.append((columns.gather(1, places), scores.gather(1, places)))
    return candidate_lists(examples, parts)
