"""What the ways of recall say of candidates, whichever of them brought them: features for rank."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from executors.exact import ACTIVATION, snap
from executors.recommender.cascade import Cascade

Evidence = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(history (batch, history), profile (batch, profile), candidates (batch, n)) to (batch, n, 3)."""


def evidence_of(cascade: Cascade) -> Evidence:
    """Scores of towers and self-attention, a quarter of how far below the list's best, and the root of the
    share of the best that co-visitation has; on ACTIVATION. Item vectors are computed here, once.
    """
    device = cascade.recall.bias.device
    with torch.no_grad():
        every = torch.arange(cascade.sizes.items, device=device)
        served = [
            (model, model.items(every), model.biases())
            for model in (cascade.recall, cascade.sequence)
        ]

    def evidence(history: Tensor, profile: Tensor, candidates: Tensor) -> Tensor:
        with torch.no_grad():
            found = []
            for model, vectors, biases in served:
                users = model.users(history, profile).unsqueeze(2)
                scores = torch.bmm(vectors[candidates], users).squeeze(2) + biases[candidates]
                found.append((scores - scores.amax(dim=1, keepdim=True)) * 0.25)
            together = cascade.covisits.scores(history).gather(1, candidates)
            best = together.amax(dim=1, keepdim=True).clamp_min(2.0**-20)
            found.append(torch.sqrt(together / best))
            return snap(torch.stack(found, dim=2), ACTIVATION)

    return evidence
