"""Merging by the user's own function."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from policies.knobs import knob
from policies.merge import Branches, Fitted, Merge, MergeError, Present
from policies.tensors import Specs, TensorSpec

_TRIED_ROWS = 2


class Merging(Protocol):
    """What a user's function has to be.

    ``branches[branch][tensor]`` is (rows, ...), ``present[branch]`` is (rows,) and tells whether the branch's
    result is there; where not, its rows are the branch's default, or zeros. It returns arrays (rows, ...) by
    tensor. A row of them must depend on the same row of the branches alone.
    """

    def __call__(
        self, branches: Branches, present: Present, **arguments: Any
    ) -> Mapping[str, NDArray[Any]]:
        """Merge a batch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionMerge(Merge):
    """``function(branches, present, **arguments)`` makes the tensors; see :class:`Merging`.

    Whoever runs it imports the function and calls :meth:`calling`; simulation does without.
    """

    kind: ClassVar[str] = "function"

    function: str = knob("what merges, as `package.module:function`")
    arguments: Mapping[str, Any] | None = knob("passed to it by name", default=None, hashed=False)

    def width(self, widths: Sequence[int]) -> None:
        """Not known before it is called."""

    def calling(self, function: Merging) -> CalledMerge:
        """The same merge, with the function at hand."""
        return CalledMerge(
            quorum=self.quorum,
            deadline_ns=self.deadline_ns,
            default=self.default,
            name=self.function,
            function=function,
            arguments=self.arguments or {},
        )

    def fit(
        self,
        branches: Mapping[str, Specs],  # noqa: ARG002
        wanted: Collection[str],  # noqa: ARG002
        common: Collection[str] = (),  # noqa: ARG002
    ) -> Fitted:
        """It has no function at hand: raises MergeError."""
        raise self._bare()

    def merged(self, branches: Branches, present: Present) -> dict[str, NDArray[Any]]:  # noqa: ARG002
        """It has no function at hand: raises MergeError."""
        raise self._bare()

    def _bare(self) -> MergeError:
        return MergeError(
            f"merge function {self.function!r} has not been imported; use calling() with the function"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledMerge(Merge):
    """A function merge with its function at hand. It takes all tensors of all branches."""

    name: str
    function: Merging
    arguments: Mapping[str, Any]

    def fit(
        self,
        branches: Mapping[str, Specs],
        wanted: Collection[str],
        common: Collection[str] = (),  # noqa: ARG002  (it may make anything)
    ) -> Fitted:
        """Call it once on zeros to see what it gives. Raises MergeError where that goes wrong."""
        zeros = {
            branch: {
                tensor: np.zeros((_TRIED_ROWS, *spec.shape), spec.dtype)
                for tensor, spec in specs.items()
            }
            for branch, specs in branches.items()
        }
        found = self.merged(zeros, dict.fromkeys(branches, np.ones(_TRIED_ROWS, np.bool_)))
        gives = {
            tensor: TensorSpec(array.shape[1:], array.dtype.name)
            for tensor, array in found.items()
            if tensor in wanted
        }
        if not gives:
            raise MergeError(
                f"merge function {self.name!r} returns {', '.join(found) or 'nothing'}, and the stage takes"
                f" {', '.join(wanted) or 'nothing of its branches'}; return what it takes"
            )
        return Fitted({branch: tuple(specs) for branch, specs in branches.items()}, gives)

    def merged(self, branches: Branches, present: Present) -> dict[str, NDArray[Any]]:
        """See :meth:`Merge.merged`. Raises MergeError for what the function does wrong."""
        rows = len(next(iter(present.values())))
        given = {
            branch: {tensor: self.filled(branch, array, present) for tensor, array in of.items()}
            for branch, of in branches.items()
        }
        try:
            found = dict(self.function(given, present, **self.arguments))
            arrays = {tensor: np.asarray(array) for tensor, array in found.items()}
        except Exception as error:
            raise MergeError(
                f"merge function {self.name!r} raised {type(error).__name__}: {error}"
            ) from error
        for tensor, array in arrays.items():
            if array.ndim < 1 or len(array) != rows:
                raise MergeError(
                    f"merge function {self.name!r} returned {tensor!r} of shape {array.shape} for {rows}"
                    " requests; return a row for each"
                )
        return arrays
