"""Shared memory of one replica: a row a request for every tensor that goes in and comes out.

The memory is anonymous (``memfd``) and handed to the worker as a file descriptor, so that it goes
when the last process that maps it goes, however that ends: nothing is named, nothing can leak.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.stage_model import TensorSpec

Columns = Mapping[str, NDArray[Any]]
"""Arrays by tensor name, each of shape (rows, *shape)."""

_ALIGN_BYTES = 64
"""A cache line: rows of two tensors never share one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a replica's memory holds: ``rows`` rows of each tensor, inputs first."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    rows: int

    def views(self, memory: mmap.mmap) -> tuple[Columns, Columns]:
        """The inputs and outputs as arrays over the memory."""
        views, _ = self._walk(memory)
        return views

    @property
    def size_bytes(self) -> int:
        """How much memory it takes; at least one byte, as nothing cannot be mapped."""
        return max(self._walk(None)[1], 1)

    def _walk(self, memory: mmap.mmap | None) -> tuple[tuple[Columns, Columns], int]:
        offset = 0
        sides: list[dict[str, NDArray[Any]]] = []
        for side in (self.inputs, self.outputs):
            views = {}
            for name, spec in side.items():
                dtype = np.dtype(spec.dtype)
                shape = (self.rows, *spec.shape)
                count = int(np.prod(shape))
                if memory is not None:
                    views[name] = np.frombuffer(memory, dtype, count, offset).reshape(shape)
                size = count * dtype.itemsize
                offset += -(-size // _ALIGN_BYTES) * _ALIGN_BYTES
            sides.append(views)
        return (sides[0], sides[1]), offset


class Slab:
    """The owner's end of a replica's memory. The arrays keep it mapped as long as they are used."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.fd = _anonymous_file(layout.size_bytes)
        self.inputs, self.outputs = layout.views(mmap.mmap(self.fd, layout.size_bytes))

    def close(self) -> None:
        """Give up the descriptor; the memory goes with its last user."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _anonymous_file(size_bytes: int) -> int:
    """A descriptor of memory that has no name, of this size, filled with zeros."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("delayline")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size_bytes)
    return fd
