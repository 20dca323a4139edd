"""The shape and type of what stages pass on: what a merge rule may know of tensors without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape of one request's row, without the batch dimension, and dtype by torch's name.

    A dimension of -1 in an input is as long as whatever stage (or client) provides it makes it.
    """

    shape: tuple[int, ...]
    dtype: str
    """``float32``, ``int64``, ``int32``, ``bool``, ..."""


Specs = Mapping[str, TensorSpec]
"""Tensors by name."""
