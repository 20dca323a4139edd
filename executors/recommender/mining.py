"""Candidate lists of trained stages at training interactions, with what else the user meets left out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from executors.recommender import covisits, prerank, recall
from executors.recommender.cascade import Cascade
from executors.recommender.examples import CandidateLists, Examples, candidate_lists
from executors.recommender.fusion import fuse
from executors.recommender.ordering import excluded, top_k
from executors.recommender.prerank import LateInteraction, from_places
from executors.recommender.stages import Users

_BATCH = 64
_Scores = Callable[[Tensor, Tensor], Tensor]


def recalled(
    cascade: Cascade, examples: Examples, met: Users, each: int, keep: int
) -> CandidateLists:
    """The best ``keep`` of the fused ways of recall, ``each`` of a way, at each example; less all else that
    ``met`` says its user ever meets.
    """
    parts: list[tuple[Tensor, Tensor]] = []
    with torch.inference_mode():
        ways = _ways(cascade)
        places = from_places(keep)
        for rows in torch.split(torch.arange(len(examples)), _BATCH):
            positives = examples.positives[rows, None]
            seen = met.seen_pairs(examples.users[rows])
            lists = []
            for score, bits in ways:
                scores = score(examples.history[rows], examples.profile[rows])
                own = scores.gather(1, positives)
                scores[seen] = excluded(bits)
                scores.scatter_(1, positives, own)
                lists.append(top_k(scores, each, bits))
            parts.append((fuse(lists, keep)[0], places.expand(len(rows), -1)))
    return candidate_lists(examples, parts)


def _ways(cascade: Cascade) -> list[tuple[_Scores, int]]:
    """Each way's scores (batch, items) of (history, profile), and the bits of their grid."""
    ways: list[tuple[_Scores, int]] = []
    for model in (cascade.recall, cascade.sequence):
        vectors = model.items(torch.arange(cascade.sizes.items)).t()
        biases = model.biases()

        def score(
            history: Tensor,
            profile: Tensor,
            users: Callable[[Tensor, Tensor], Tensor] = model.users,
            vectors: Tensor = vectors,
            biases: Tensor = biases,
        ) -> Tensor:
            return torch.addmm(biases, users(history, profile), vectors)

        ways.append((score, recall.SCORE_BITS))
    ways.append((lambda history, profile: cascade.covisits.scores(history), covisits.SCORE_BITS))
    return ways


def preranked(model: LateInteraction, lists: CandidateLists, keep: int) -> CandidateLists:
    """Pre-rank's best ``keep`` of the candidates at each example."""
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
