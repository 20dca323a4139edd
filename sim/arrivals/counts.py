"""Arrivals of which only the number in each interval is known."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.arrivals.base import LATEST_NS, NS_PER_S, ArrivalProcess, check_factor, cut
from sim.columns import counts, read_table

MAX_REQUESTS = 1_000_000_000


@dataclass(frozen=True)
class Counts(ArrivalProcess):
    """Requests per interval, inline or from a column of a file; times are uniform within an interval,
    as those of a Poisson process are once their number is known.
    """

    kind: ClassVar[str] = "counts"

    interval_ns: int = knob("length of an interval", ge=1_000)
    counts: tuple[int, ...] = knob("requests in each interval", default=(), ge=0)
    path: Path | None = knob("file that holds them (csv, csv.gz or parquet)", default=None)
    column: str = knob("column of the file", default="requests")

    def __post_init__(self) -> None:
        if bool(self.counts) == (self.path is not None):
            raise ValueError("give `counts` or `path`: one of the two")
        if self.counts:
            self._check(np.array(self.counts, np.int64))

    def check_end(self, requests: int | None, duration_ns: int | None) -> None:
        """Nothing to check: the record ends."""

    def times_ns(self, rng: Generator, requests: int | None, duration_ns: int | None) -> Int64:
        """See ArrivalProcess. Ends with the last interval."""
        per_interval = self._per_interval
        stop = len(per_interval)
        if duration_ns is not None:
            stop = min(stop, -(-duration_ns // self.interval_ns))
        if requests is not None:
            stop = min(stop, int(np.searchsorted(np.cumsum(per_interval), requests)) + 1)
        per_interval = per_interval[:stop]
        within = rng.random(int(per_interval.sum())) * self.interval_ns
        starts = np.repeat(np.arange(stop, dtype=np.int64) * self.interval_ns, per_interval)
        # Rounded down, so that none leaves its interval.
        return cut(np.sort(starts + within.astype(np.int64)), requests, duration_ns)

    def mean_rate_hz(self) -> float:
        """Requests over the length of all intervals."""
        span_ns = len(self._per_interval) * self.interval_ns
        return float(self._per_interval.sum()) * NS_PER_S / span_ns

    def scaled(self, factor: float) -> Self:
        """The same counts in intervals shorter by ``factor``."""
        interval_ns = max(1, round(self.interval_ns / check_factor(factor)))
        return dataclasses.replace(self, interval_ns=interval_ns)

    @cached_property
    def _per_interval(self) -> Int64:
        if self.path is None:
            return np.array(self.counts, np.int64)
        found = counts(read_table(self.path, [self.column]), self.path, self.column, 0)
        return self._check(found)

    def _check(self, per_interval: Int64) -> Int64:
        total = int(per_interval.sum())
        if total == 0:
            raise ValueError("the counts are all 0: nothing ever arrives")
        if total > MAX_REQUESTS:
            raise ValueError(
                f"the counts add up to {total}; at most {MAX_REQUESTS} can be simulated"
            )
        if len(per_interval) * self.interval_ns >= LATEST_NS:
            raise ValueError("the intervals span more than 146 years; shorten `interval`")
        return per_interval
