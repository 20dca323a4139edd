"""Merging by passing the branches on as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.merge import Merge


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide(Merge):
    """Every branch's tensors go on under their own names; those of a missing one are zeros."""

    kind: ClassVar[str] = "side_by_side"
