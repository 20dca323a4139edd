"""Keys as they were recorded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.columns import TraceError, identities, read_table
from sim.keys.base import Keys


@dataclass(frozen=True)
class KeyColumn(Keys):
    """Row k of a file's column is the key of request k. Whole numbers are kept as they are; other values,
    such as names, are numbered in the order in which they first appear.
    """

    kind: ClassVar[str] = "column"

    path: Path = knob("file of recorded requests (csv, csv.gz or parquet)")
    column: str = knob("column that holds the key of each request")

    def draw(self, rng: Generator, count: int) -> Int64:  # noqa: ARG002
        """See Keys. Draws nothing; raises TraceError where the file has fewer rows."""
        if count > len(self._keys):
            raise TraceError(
                f"{self.path}, column {self.column}: {count} requests need a key each, "
                f"the file has {len(self._keys)} rows; ask for fewer `requests`"
            )
        return self._keys[:count]

    @cached_property
    def _keys(self) -> Int64:
        return identities(read_table(self.path, [self.column]), self.path, self.column)
