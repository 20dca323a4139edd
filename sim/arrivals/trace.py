"""Arrivals as they were recorded, one row a request."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.arrivals.base import LATEST_NS, MAX_RATE_HZ, NS_PER_S, ArrivalProcess, check_factor, cut
from sim.columns import (
    Float64,
    TraceError,
    counts,
    fail,
    is_numeric,
    numbers,
    read_table,
    timestamps_ns,
)


@dataclass(frozen=True)
class Trace(ArrivalProcess):
    """A column of a csv, csv.gz or parquet file, in time order; the first row arrives at 0.

    The file is read when it is first asked for, and raises TraceError there where it cannot be used.
    """

    kind: ClassVar[str] = "trace"

    path: Path = knob("file of recorded requests (csv, csv.gz or parquet)")
    column: str = knob("column that holds the time of arrival", default="timestamp")
    format: Literal["auto", "timestamps", "seconds"] = knob(
        "dates with times, or seconds as numbers; auto goes by the values", default="auto"
    )
    time_scale: float = knob("every gap is multiplied by this", default=1.0, gt=0, le=1e9)
    rate_hz: float | None = knob(
        "stretch or squeeze time so that the mean rate is this", default=None, gt=0, le=MAX_RATE_HZ
    )
    limit: int | None = knob("use the first rows only", default=None, ge=1)
    sort: bool = knob("put rows that are not in time order into it", default=False)
    items_column: str | None = knob("column that holds the size of each request", default=None)

    def __post_init__(self) -> None:
        if self.rate_hz is not None and self.time_scale != 1:
            raise ValueError("give `rate` or `time_scale`, not both: each sets the speed of time")

    def check_end(self, requests: int | None, duration_ns: int | None) -> None:
        """Nothing to check: the record ends."""

    def times_ns(
        self,
        rng: Generator,  # noqa: ARG002
        requests: int | None,
        duration_ns: int | None,
    ) -> Int64:
        """See ArrivalProcess. Draws nothing; ends with the file."""
        scale = self._scale()
        recorded, _ = self._rows
        if scale == 1:
            return cut(recorded, requests, duration_ns)
        if float(recorded[-1]) * scale >= LATEST_NS:
            raise TraceError(f"{self.path}: stretched to more than 146 years; raise `rate`")
        return cut(np.rint(recorded * scale).astype(np.int64), requests, duration_ns)

    def items(self, count: int) -> Int64 | None:
        """The sizes of the first ``count`` requests, if ``items_column`` names where they are."""
        _, sizes = self._rows
        return None if sizes is None else sizes[:count]

    def mean_rate_hz(self) -> float:
        """Gaps a second over the part of the record that is used, after scaling."""
        return self.rate_hz or self._recorded_hz() / self.time_scale

    def scaled(self, factor: float) -> Self:
        """The same gaps, each divided by ``factor``."""
        rate_hz = self.mean_rate_hz() * check_factor(factor)
        return dataclasses.replace(self, rate_hz=rate_hz, time_scale=1.0)

    def _scale(self) -> float:
        return self.time_scale if self.rate_hz is None else self._recorded_hz() / self.rate_hz

    def _recorded_hz(self) -> float:
        recorded, _ = self._rows
        if recorded[-1] == 0:
            raise TraceError(
                f"{self.path}, column {self.column}: all {len(recorded)} requests arrive at one time, "
                "so there is no rate to scale"
            )
        return (len(recorded) - 1) * NS_PER_S / float(recorded[-1])

    @cached_property
    def _rows(self) -> tuple[Int64, Int64 | None]:
        """Times since the first in nanoseconds, and sizes; the file's first ``limit`` rows, sorted."""
        columns = [self.column, *([self.items_column] if self.items_column else [])]
        table = read_table(self.path, columns)[: self.limit]
        seconds = self.format == "seconds" or (
            self.format == "auto" and is_numeric(table, self.column)
        )
        if seconds:
            times: Float64 | Int64 = numbers(table, self.path, self.column)
        else:
            times = timestamps_ns(table, self.path, self.column)
        sizes = counts(table, self.path, self.items_column, 1) if self.items_column else None
        order = self._order(times)
        if order is not None:
            times = times[order]
            sizes = None if sizes is None else sizes[order]
        # Counted from the first before rounding: a large offset would cost a float its last digits.
        times = times - times[0]
        if not seconds:
            return times.astype(np.int64), sizes
        if times[-1] * NS_PER_S >= LATEST_NS:
            raise TraceError(f"{self.path}, column {self.column}: spans more than 146 years")
        return np.rint(times * NS_PER_S).astype(np.int64), sizes

    def _order(self, times: Float64 | Int64) -> Int64 | None:
        """The order by time, None where the rows are in it already; TraceError unless ``sort``."""
        back = np.flatnonzero(times[1:] < times[:-1])
        if not len(back):
            return None
        if not self.sort:
            what = (
                f"earlier than the row before it, one of {len(back)} such rows; "
                "sort the file, or set `sort: true` if the order of its rows means nothing"
            )
            raise fail(self.path, int(back[0]) + 1, self.column, what)
        return np.argsort(times, kind="stable")
