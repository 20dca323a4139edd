"""The first term of rank's score, fitted before its network: how far each way of recall is to be trusted."""

from __future__ import annotations

import torch
from torch import Tensor

from executors.recommender.evidence import Evidence
from executors.recommender.examples import CandidateLists
from executors.recommender.objectives import listwise_softmax
from executors.recommender.rank import DeepCross

_BATCH = 256
_RIDGE = 1e-3


def calibrate(model: DeepCross, lists: CandidateLists, evidence: Evidence) -> None:
    """Fit ``slope`` and ``trust`` to whole candidate lists by L-BFGS; nothing is drawn."""
    if not len(lists.examples):
        return
    earlier, says = _features(lists, evidence)
    fitted = [model.slope, model.trust]
    optimiser = torch.optim.LBFGS(fitted, max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        scores = model.prior(earlier, says)
        loss = listwise_softmax(scores) + _RIDGE * sum((each**2).sum() for each in fitted)
        torch.autograd.backward(loss)
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call, unused-ignore]


def _features(lists: CandidateLists, evidence: Evidence) -> tuple[Tensor, Tensor]:
    """Earlier scores (examples, n) and evidence (examples, n, 3), the positive in column 0."""
    columns, earlier = lists.positive_first()
    examples = lists.examples
    found = [
        evidence(examples.history[rows], examples.profile[rows], columns[rows])
        for rows in torch.split(torch.arange(len(examples)), _BATCH)
    ]
    return earlier, torch.cat(found)
