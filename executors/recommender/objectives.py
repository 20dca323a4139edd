"""Losses: sampled softmax for recall, listwise softmax for the stages that order its candidates."""

from __future__ import annotations

import torch
from torch import Tensor


def sampled_softmax(
    scores: Tensor, columns: Tensor, positives: Tensor, log_expected: Tensor
) -> Tensor:
    """Mean cross-entropy of each row's positive among sampled items.

    ``scores`` (batch, batch + extra) of ``columns`` (batch + extra,), of which column i < batch is row i's
    positive; other columns with the same item are left out. ``log_expected`` (items,) is the log of how
    often an item is expected among the columns; taking it off corrects for popular items being drawn
    more often (Yi et al. 2019, equation 3; Bengio and Senecal 2008).
    """
    batch = len(positives)
    logits = scores - log_expected[columns]
    rows = torch.arange(batch)
    same = columns[None, :] == positives[:, None]
    same[rows, rows] = False
    return torch.nn.functional.cross_entropy(logits.masked_fill(same, -1e9), rows)


def listwise_softmax(scores: Tensor) -> Tensor:
    """Mean cross-entropy of column 0 against the other columns of (batch, n) (Cao et al. 2007, ListNet)."""
    first = torch.zeros(len(scores), dtype=torch.int64)
    return torch.nn.functional.cross_entropy(scores, first)
