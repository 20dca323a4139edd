"""Top-k under a total order, so that equal scores never leave the choice to a kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from executors.exact import EXACT_UNITS


def excluded(bits: int) -> float:
    """A score below every score on the grid of 2^-bits, for what must come last."""
    return -2.0 * EXACT_UNITS * 2.0**-bits


def top_k(scores: Tensor, keep: int, bits: int) -> Tensor:
    """Places (batch, keep) of the highest scores (batch, n), best first; the earlier of equals wins.

    Scores lie on the grid of 2^-bits, within 2^24 of its units, or are ``excluded(bits)``. Score and
    place then make one whole number below 2^53, exact in float64, and no two are equal; n may be up to
    2^27.
    """
    count = scores.shape[1]
    earlier_first = torch.arange(count - 1, -1, -1, dtype=torch.float64, device=scores.device)
    keys = (scores.to(torch.float64) * (2.0**bits * count)).add_(earlier_first)
    return keys.topk(keep, dim=1).indices
