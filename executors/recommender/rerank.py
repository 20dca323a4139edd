"""Re-rank: maximal marginal relevance (Carbonell and Goldstein 1998), greedy and batched.

    next = argmax over candidates c left of   trade * relevance(c) - (1 - trade) * max over picked p of <c, p>

Relevance is rank's score scaled to 0 .. 1 within the request; likeness is the cosine of item vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from executors.exact import Grid, check_exact, snap

UNIT = Grid(bits=10, bound=1.0)
"""Coordinates of unit vectors; Cauchy-Schwarz bounds every partial sum of a cosine by 1 (and rounding)."""
check_exact(1.1, UNIT, UNIT)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Rows (n, width) scaled to length 1, on UNIT; computed ahead, once for all batches."""
    length = torch.linalg.vector_norm(vectors.double(), dim=1, keepdim=True).clamp_min(1e-12)
    return snap((vectors.double() / length).float(), UNIT)


def diversify(
    scores: Tensor, vectors: Tensor, keep: int, trade: float, there: Tensor | None = None
) -> Tensor:
    """Places (batch, keep) in order of picking, from scores (batch, n) and unit vectors (batch, n, width).

    Of equals the earlier candidate is picked (``argmax`` returns the first). ``trade`` of 1 keeps the
    order of the scores, 0 looks at diversity alone. What is not ``there`` (batch, n) is picked last. Loops
    over the picks, never over requests.
    """
    highest = scores.amax(dim=1, keepdim=True)
    known = scores if there is None else torch.where(there, scores, highest)
    lowest = known.amin(dim=1, keepdim=True)
    spread = (highest - lowest).clamp_min(2.0**-20)
    relevance = (known - lowest) / spread * trade
    if there is not None:
        relevance = relevance.masked_fill(~there, -2.0)
    likeness = torch.bmm(vectors, vectors.transpose(1, 2)) * (1.0 - trade)
    width = scores.shape[1]
    closest = torch.zeros_like(scores)
    picks = torch.empty((scores.shape[0], keep), dtype=torch.int64, device=scores.device)
    for turn in range(keep):
        pick = (relevance - closest).argmax(dim=1, keepdim=True)
        picks[:, turn : turn + 1] = pick
        beside = likeness.gather(1, pick.unsqueeze(2).expand(-1, 1, width)).squeeze(1)
        closest = beside if turn == 0 else torch.maximum(closest, beside)
        relevance.scatter_(1, pick, float("-inf"))
    return picks
