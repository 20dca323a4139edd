"""Small recommenders with drawn weights: what serving needs, without the time of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from executors.recommender.cascade import Cascade, new_cascade, padded, sizes_of
from executors.recommender.covisits import count_covisits
from executors.recommender.data import Interactions, leave_last_out
from executors.recommender.evaluation import evaluate
from executors.recommender.generated import generate_interactions
from executors.recommender.keep import StageName
from executors.recommender.training import Trained
from executors.recommender.users import user_table
from executors.recommender.weights import save

KEEP: dict[StageName, int] = {
    "recall": 60,
    "sequence": 60,
    "covisits": 60,
    "prerank": 40,
    "rank": 25,
    "rerank": 7,
}


def interactions() -> Interactions:
    return generate_interactions(3, users=40, items=160, interactions_per_user=20, attributes=6)


def drawn_cascade(data: Interactions, seed: int = 0, spread: float = 0.5) -> Cascade:
    """Weights big enough that activations reach their bounds and scores come close to each other."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cascade = new_cascade(sizes_of(data), padded(torch.from_numpy(data.attributes)), trade=0.7)
    for model in cascade.modules.values():
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(spread * torch.randn(weight.shape, generator=generator))
        model.requires_grad_(False).eval()
    return replace(cascade, covisits=count_covisits(data, cascade.sizes))


def saved_recommender(folder: Path) -> Cascade:
    data = interactions()
    cascade = drawn_cascade(data)
    split = leave_last_out(data)
    known = user_table(split.before_test, cascade.sizes)
    evaluation = evaluate(cascade, known, split.test_items)
    save(folder, Trained(cascade, user_table(data, cascade.sizes), evaluation), data, "print")
    return cascade
