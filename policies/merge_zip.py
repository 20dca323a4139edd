"""Merging by zipping: the first of every branch, then the second of every branch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from policies.merge import Present
from policies.merge_values import ValueMerge, same_spec
from policies.tensors import Specs, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Zip(ValueMerge):
    """Element k of the result holds element k of every branch: lists 1 2 3, 4 5 6 and 7 8 9 become 1 4 7,
    2 5 8 and 3 6 9.
    """

    kind: ClassVar[str] = "zip"

    def _spec(self, name: str, branches: Specs) -> TensorSpec:
        """Of n branches' (k, ...) one (k, n, ...); of single values (n,)."""
        spec = same_spec(name, branches)
        return TensorSpec((*spec.shape[:1], len(branches), *spec.shape[1:]), spec.dtype)

    def _values(
        self,
        branches: Mapping[str, NDArray[Any]],
        present: Present,  # noqa: ARG002  (an element has its place, filled or zero)
    ) -> NDArray[Any]:
        arrays = list(branches.values())
        return np.stack(arrays, axis=min(2, arrays[0].ndim))
