"""Merging by the mean: an ensemble of models that predict the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from policies.knobs import knob
from policies.merge import Present, check_branches
from policies.merge_values import ValueMerge, floating, mean
from policies.tensors import Specs, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean(ValueMerge):
    """The mean of the branches that are there, element by element; a missing one with a default counts."""

    kind: ClassVar[str] = "mean"

    weights: Mapping[str, float] | None = knob(
        "by branch, how much it counts; absent is 1", default=None, gt=0, hashed=False
    )

    def width(self, widths: Sequence[int]) -> int:
        """As many as each branch: they are alike."""
        return max(widths)

    def check(self, branches: Sequence[str]) -> None:
        """Weights are of branches that are there."""
        ValueMerge.check(self, branches)
        check_branches("weights", self.weights or {}, branches)

    def _spec(self, name: str, branches: Specs) -> TensorSpec:
        return floating(name, branches)

    def _values(self, branches: Mapping[str, NDArray[Any]], present: Present) -> NDArray[Any]:
        return self._mean(branches, present).astype(next(iter(branches.values())).dtype)

    def _mean(self, branches: Mapping[str, NDArray[Any]], present: Present) -> NDArray[np.float64]:
        weights = [(self.weights or {}).get(branch, 1.0) for branch in branches]
        return mean(list(branches.values()), weights, [present[branch] for branch in branches])
