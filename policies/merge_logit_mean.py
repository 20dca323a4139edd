"""Merging of probabilities by the mean of their logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from policies.merge import Present
from policies.merge_mean import Mean

_LEAST = 1e-7
"""Probabilities nearer to 0 or 1 count as that near: certainty would outvote every other branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitMean(Mean):
    """The probability whose logit is the mean of the branches' logits; for what lies between 0 and 1.

    Source: V. Satopää et al., "Combining multiple probability predictions using a simple logit model",
    International Journal of Forecasting, 2014, without their sharpening. What is no probability gives NaN.
    """

    kind: ClassVar[str] = "logit_mean"

    def _values(self, branches: Mapping[str, NDArray[Any]], present: Present) -> NDArray[Any]:
        logits = {branch: _logit(each) for branch, each in branches.items()}
        found = 1.0 / (1.0 + np.exp(-self._mean(logits, present)))
        return found.astype(next(iter(branches.values())).dtype)


def _logit(probability: NDArray[Any]) -> NDArray[np.float64]:
    exact = np.asarray(probability, np.float64)
    inside = np.clip(exact, _LEAST, 1.0 - _LEAST)
    return np.where((exact >= 0) & (exact <= 1), np.log(inside / (1.0 - inside)), np.nan)
