"""What merges of values have in common: tensors that all branches put out under one name become one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.merge import Branches, Fitted, Merge, MergeError, Present
from policies.tensors import Specs, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueMerge(Merge):
    """Merges every tensor that the stage takes and that several branches put out.

    A tensor of one branch alone passes on as it is.
    """

    def fit(
        self, branches: Mapping[str, Specs], wanted: Collection[str], common: Collection[str] = ()
    ) -> Fitted:
        """See :meth:`Merge.fit`."""
        apart = [name for name in wanted if name not in common]
        names = [name for name in apart if sum(name in specs for specs in branches.values()) > 1]
        if not names:
            told = "; ".join(f"{branch}: {', '.join(specs)}" for branch, specs in branches.items())
            raise MergeError(
                "several branches must put out a tensor that the stage takes under one name, and none is; "
                f"it takes {', '.join(apart) or 'nothing of theirs'}, and they put out {told}"
            )
        gives = {}
        for name in names:
            for branch, specs in branches.items():
                if name not in specs:
                    raise MergeError(
                        f"branch {branch} puts out no {name!r}, as the others do; have it put that out, or"
                        " rename theirs"
                    )
            of_name = {branch: specs[name] for branch, specs in branches.items()}
            for branch, spec in of_name.items():
                self._check_fill(branch, name, spec)
            gives[name] = self._spec(name, of_name)
        return Fitted(dict.fromkeys(branches, tuple(names)), gives)

    def merged(self, branches: Branches, present: Present) -> dict[str, NDArray[Any]]:
        """See :meth:`Merge.merged`."""
        names = next(iter(branches.values()))
        there = {
            branch: np.ones_like(rows) if self.fill(branch) is not None else rows
            for branch, rows in present.items()
        }
        return {
            name: self._values(
                {branch: self.filled(branch, of[name], present) for branch, of in branches.items()},
                there,
            )
            for name in names
        }

    @abstractmethod
    def _spec(self, name: str, branches: Specs) -> TensorSpec:
        """The spec of a merged tensor, of the branches' that it is made of. Raises MergeError."""

    @abstractmethod
    def _values(self, branches: Mapping[str, NDArray[Any]], present: Present) -> NDArray[Any]:
        """The merged tensor. What is missing and has no default is zeros, and not ``present``."""

    def _check_fill(self, branch: str, name: str, spec: TensorSpec) -> None:
        fill = self.fill(branch)
        if fill is not None and not spec.dtype.startswith("float") and fill != int(fill):
            raise MergeError(
                f"branch {branch} puts out {name!r} as {spec.dtype}, and merge.default fills it with"
                f" {fill:g}; give a whole number"
            )


def same_spec(name: str, branches: Specs) -> TensorSpec:
    """The spec that all branches have. Raises MergeError where two differ."""
    first, spec = next(iter(branches.items()))
    for branch, other in branches.items():
        if other != spec:
            raise MergeError(
                f"branch {first} puts out {name!r} as {spec.dtype} of shape {spec.shape}, branch {branch} as"
                f" {other.dtype} of shape {other.shape}; make them alike"
            )
    return spec


def floating(name: str, branches: Specs) -> TensorSpec:
    """The spec that all have, of floats. Raises MergeError."""
    spec = same_spec(name, branches)
    if not spec.dtype.startswith("float"):
        raise MergeError(
            f"the branches put out {name!r} as {spec.dtype}, of which there is no mean; convert it to float32"
            " in the models, or merge by zip or concat"
        )
    return spec


def mean(
    values: Sequence[NDArray[Any]],
    weights: Sequence[float],
    present: Sequence[NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Weighted mean over the branches that are present, (rows, ...) of arrays of that shape.

    Added from the lowest to the highest, so that it does not depend on the order of the branches. Not a
    number where the weights of those present sum to zero.
    """
    stacked = np.stack([np.asarray(each, np.float64) for each in values])
    shape = (*stacked.shape[:2], *[1] * (stacked.ndim - 2))
    weighed = (np.stack(present) * np.asarray(weights, np.float64)[:, np.newaxis]).reshape(shape)
    total = np.sort(weighed, axis=0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        # A weight of zero times infinity, or a sum of both infinities, is no number.
        products = np.where(weighed > 0, stacked * weighed, 0.0)
        summed = np.sort(products, axis=0).sum(axis=0)
        found: NDArray[np.float64] = summed / np.where(total > 0, total, np.nan)
    return found
