"""Sizes as they were recorded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.columns import TraceError, counts, read_table
from sim.items.base import Items


@dataclass(frozen=True)
class Column(Items):
    """Row k of a file's column is the size of request k.

    For a trace whose rows are sorted on reading, name ``items_column`` in the arrivals instead: sizes
    then stay with their rows.
    """

    kind: ClassVar[str] = "column"

    path: Path = knob("file of recorded requests (csv, csv.gz or parquet)")
    column: str = knob("column that holds the size of each request")

    def draw(self, rng: Generator, count: int) -> Int64:  # noqa: ARG002
        """See Items. Draws nothing; raises TraceError where the file has fewer rows."""
        if count > len(self._sizes):
            raise TraceError(
                f"{self.path}, column {self.column}: {count} requests need a size each, "
                f"the file has {len(self._sizes)} rows; ask for fewer `requests`"
            )
        return self._sizes[:count]

    def mean_items(self) -> float:
        """The mean of the whole column."""
        return float(self._sizes.mean())

    @cached_property
    def _sizes(self) -> Int64:
        return counts(read_table(self.path, [self.column]), self.path, self.column, 1)
