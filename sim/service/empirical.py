"""Batches whose times were measured by someone else: a list or a file of samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.columns import UNITS, TraceError, counts, fail, numbers, read_table, unit_ns
from sim.service.base import LONGEST_NS, Float64, ServiceModel
from sim.service.forms import Form
from sim.service.measured import AffineMean, Batches, Measured, Pace, measure


@dataclass(frozen=True)
class Empirical(ServiceModel):
    """Samples in the order in which they were measured, resampled in blocks.

    Inline samples, and those of a file without ``requests_column``, hold for batches of any size. With
    it, times follow the size as ``sim.service.measured`` says.
    """

    kind: ClassVar[str] = "empirical"

    samples_ns: tuple[int, ...] = knob("measured times of a batch", default=(), ge=0, le=LONGEST_NS)
    path: Path | None = knob("file of samples (csv, csv.gz or parquet)", default=None)
    column: str = knob(
        "column of times, its name ending in its unit: _ns, _us, _ms or _s", default="service_ns"
    )
    requests_column: str | None = knob("column of requests in the batch", default=None)
    items_column: str | None = knob("column of items in the batch", default=None)
    block: int = knob(
        "mean length of the stretches resampled, in batches", default=20, ge=1, le=10**6
    )

    def __post_init__(self) -> None:
        if bool(self.samples_ns) == (self.path is not None):
            raise ValueError("give `samples` or `path`: one of the two")
        if self.path is not None and unit_ns(self.column) is None:
            raise ValueError(
                f"`column` must end in its unit, one of {', '.join(UNITS)}; not {self.column!r}"
            )
        if self.items_column is not None and self.requests_column is None:
            raise ValueError("`items_column` needs `requests_column` beside it")

    def expected_ns(self, requests: int, items: int) -> float:
        """Mean of the samples at this size."""
        return self._measured.expected_ns(requests, items)

    def draw(self, rng: Generator, count: int) -> Float64:
        """Ranks of samples among their size."""
        return self._measured.draw(rng, count)

    def time_ns(self, noise: float, requests: int, items: int) -> int:
        """The sample at this rank."""
        return self._measured.time_ns(noise, requests, items)

    def form(self, largest: int) -> Form:  # noqa: ARG002
        """The samples by size."""
        return self._measured.form()

    @cached_property
    def _measured(self) -> Measured:
        if self.path is None:
            return _sizeless(np.array(self.samples_ns, np.int64), self.block)
        columns = [self.column, self.requests_column, self.items_column]
        table = read_table(self.path, [column for column in columns if column is not None])
        times = numbers(table, self.path, self.column) * (unit_ns(self.column) or 1)
        bad = np.flatnonzero((times < 0) | (times > LONGEST_NS))
        if len(bad):
            raise fail(self.path, int(bad[0]), self.column, "must be between 0 and a day")
        service_ns = np.rint(times).astype(np.int64)
        if self.requests_column is None:
            return _sizeless(service_ns, self.block)
        requests = counts(table, self.path, self.requests_column, 1)
        items = counts(table, self.path, self.items_column, 0) if self.items_column else requests
        try:
            return measure([Batches(requests, items, service_ns)], self.block)
        except ValueError as error:
            raise TraceError(f"{self.path}, column {self.column}: {error}") from error


def _sizeless(service_ns: Int64, block: int) -> Measured:
    """Samples that hold for any size: the mean is flat, and they are its ratios."""
    one = measure([Batches(np.ones_like(service_ns), np.ones_like(service_ns), service_ns)], block)
    flat = AffineMean(one.mean.per_request_ns, 0.0, 0.0)
    return Measured(flat, one.centers, one.ratios, one.blocks, Pace((), ()))
