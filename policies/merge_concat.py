"""Merging by putting one branch after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from policies.merge import MergeError, Present
from policies.merge_values import ValueMerge
from policies.tensors import Specs, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(ValueMerge):
    """The branches' lists one after another, in the order in which the stage names them."""

    kind: ClassVar[str] = "concat"

    def _spec(self, name: str, branches: Specs) -> TensorSpec:
        """Of (k_i, ...) one (sum of k_i, ...); a single value counts as a list of one."""
        first, spec = next(iter(branches.items()))
        for branch, other in branches.items():
            if (other.shape[1:], len(other.shape), other.dtype) != (
                spec.shape[1:],
                len(spec.shape),
                spec.dtype,
            ):
                raise MergeError(
                    f"branch {first} puts out {name!r} as {spec.dtype} of shape {spec.shape}, branch {branch}"
                    f" as {other.dtype} of shape {other.shape}; only the first size may differ"
                )
        length = sum(other.shape[0] if other.shape else 1 for other in branches.values())
        return TensorSpec((length, *spec.shape[1:]), spec.dtype)

    def _values(
        self,
        branches: Mapping[str, NDArray[Any]],
        present: Present,  # noqa: ARG002  (an element has its place, filled or zero)
    ) -> NDArray[Any]:
        lists = [each[:, np.newaxis] if each.ndim == 1 else each for each in branches.values()]
        return np.concatenate(lists, axis=1)
