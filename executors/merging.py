"""A merge at work: which tensors of which branch it gets, and what the joined stage's model gets of it.

The merge is done in the joined stage's worker, before its model runs, so that it is part of the stage's
service time, in the profile too, and keeps the dispatcher free. On a GPU's stage it is done on the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.factory import found_function
from executors.slab import Columns
from policies.merge import Merge, MergeError
from policies.merge_function import FunctionMerge
from policies.tensors import Specs, TensorSpec

PRESENT = "merge:present"
"""The column of a replica's memory that tells, by branch, whether a request has its result."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The merge of one stage. Small and picklable: it is sent to the stage's workers."""

    merge: Merge
    takes: Mapping[str, Mapping[str, str]]
    """By branch and by its tensor, the name of the column that holds it."""
    gives: Specs
    """What it makes of them, by the names by which the stage's model takes it."""

    @property
    def present(self) -> TensorSpec:
        """The spec of :data:`PRESENT`: one bool a branch, in the order of :attr:`takes`."""
        return TensorSpec((len(self.takes),), "bool")

    def merged(self, columns: Columns) -> dict[str, NDArray[Any]]:
        """The tensors of :attr:`gives` (rows, ...), of the columns (rows, ...) and :data:`PRESENT`.

        They are new arrays. Raises MergeError where a user's function gives something else.
        """
        present = columns[PRESENT]
        found = self.merge.merged(
            {
                branch: {name: columns[column] for name, column in names.items()}
                for branch, names in self.takes.items()
            },
            {branch: present[:, number] for number, branch in enumerate(self.takes)},
        )
        return {
            name: _checked(name, found, spec, len(present)) for name, spec in self.gives.items()
        }


def column_of(branch: str, tensor: str) -> str:
    """What the column is called that holds a branch's tensor for a merge."""
    return f"merge:{branch}:{tensor}"


def loaded(merge: Merge) -> Merge:
    """The merge, with its function imported where it is a user's. Raises FactoryError."""
    if isinstance(merge, FunctionMerge):
        return merge.calling(found_function(merge.function, "merge function"))
    return merge


def _checked(
    name: str, found: Mapping[str, NDArray[Any]], spec: TensorSpec, rows: int
) -> NDArray[Any]:
    array = found.get(name)
    if array is None or array.shape != (rows, *spec.shape) or array.dtype != np.dtype(spec.dtype):
        said = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
        raise MergeError(
            f"the merge gave {said} for {name!r}, where it gave {spec.dtype} of shape"
            f" {(rows, *spec.shape)} at the start"
        )
    writable = array if array.flags.writeable else array.copy()
    return np.ascontiguousarray(writable)
