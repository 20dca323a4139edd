"""Merging by passing the branches on as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from policies.merge import NOTHING, Branches, Fitted, Merge, Present
from policies.tensors import Specs


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide(Merge):
    """Every branch's tensors go on under their own names; a missing one's are zeros, or its default."""

    kind: ClassVar[str] = "side_by_side"

    def fit(
        self,
        branches: Mapping[str, Specs],  # noqa: ARG002
        wanted: Collection[str],  # noqa: ARG002
        common: Collection[str] = (),  # noqa: ARG002
    ) -> Fitted:
        """It makes nothing: everything passes on."""
        return NOTHING

    def merged(self, branches: Branches, present: Present) -> dict[str, NDArray[Any]]:  # noqa: ARG002
        """Nothing."""
        return {}
