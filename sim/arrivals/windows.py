"""Many clients, each described window by window by a rate and the shape of its gaps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from policies.knobs import knob
from policies.runlog import Int64
from sim.arrivals.base import MAX_RATE_HZ, NS_PER_S, ArrivalProcess, Float64, check_factor, cut
from sim.arrivals.renewal import cumulative
from sim.columns import TraceError, counts, fail, numbers, read_table, texts

COLUMNS = ("client", "start_s", "rate", "family", "p1")


@dataclass(frozen=True, slots=True, eq=False)
class _Windows:
    """The rows in use, by start and client: equal-length columns. Starts count from the first window."""

    start_s: Float64
    rate_hz: Float64
    family: NDArray[np.str_]
    shape: Float64
    length_s: float
    number: int
    """Windows from the first to the last, those in which nothing arrives included."""


@dataclass(frozen=True)
class Windows(ArrivalProcess):
    """The superposition of clients; in each window a client is a renewal process with Gamma or Weibull
    gaps, as in Xiang et al., "ServeGen: Workload Characterization and Generation of Large Language Model
    Serving in Production" (2025).

    The file has a row for each client and window in which it sent anything: ``client``, ``start_s``,
    ``rate`` (requests a second: its count over the window's length), ``family`` (Gamma or Weibull) and
    ``p1``, the family's shape. The scale of the gaps is not taken from ``p2`` but from the rate, so that
    their mean is 1/rate: ``p2`` was fitted to the gaps between arrivals alone, which in a window with
    one short burst are far shorter than the window divided by its count.

    Each renewal process is in equilibrium at the start of its window (Cox, "Renewal Theory", 1962):
    started with a full gap, bursty clients would send (cv^2 - 1)/2 requests too many in every window.
    """

    kind: ClassVar[str] = "windows"

    path: Path = knob("file of windows (csv, csv.gz or parquet)")
    rate_hz: float | None = knob(
        "scale all rates so that their sum has this mean", default=None, gt=0, le=MAX_RATE_HZ
    )
    start_ns: int = knob("where in the record to begin", default=0, ge=0)
    windows: int | None = knob("how many windows to use", default=None, ge=1)
    clients: int | None = knob("use those that send most, this many", default=None, ge=1)

    def check_end(self, requests: int | None, duration_ns: int | None) -> None:
        """Nothing to check: the record ends."""

    def times_ns(self, rng: Generator, requests: int | None, duration_ns: int | None) -> Int64:
        """See ArrivalProcess. Ends with the last window."""
        rows, factor = self._rows, self._factor()
        found: list[Int64] = [np.empty(0, np.int64)]
        have = 0
        for start_s in np.unique(rows.start_s):
            if duration_ns is not None and start_s * NS_PER_S >= duration_ns:
                break
            if requests is not None and have >= requests:
                break
            for row in np.flatnonzero(rows.start_s == start_s):
                gaps = _FAMILIES[str(rows.family[row])]
                rate_hz = float(rows.rate_hz[row]) * factor
                within_s = gaps(rng, float(rows.shape[row]), rate_hz, rows.length_s)
                found.append(np.floor((start_s + within_s) * NS_PER_S).astype(np.int64))
                have += len(found[-1])
        return cut(np.sort(np.concatenate(found)), requests, duration_ns)

    def mean_rate_hz(self) -> float:
        """The sum of all clients' rates, averaged over the windows in use."""
        return self.rate_hz or self._recorded_hz()

    def scaled(self, factor: float) -> Self:
        """Every rate times ``factor``; windows and shapes stay."""
        return dataclasses.replace(self, rate_hz=self.mean_rate_hz() * check_factor(factor))

    def _factor(self) -> float:
        return 1.0 if self.rate_hz is None else self.rate_hz / self._recorded_hz()

    def _recorded_hz(self) -> float:
        return float(self._rows.rate_hz.sum()) / self._rows.number

    @cached_property
    def _rows(self) -> _Windows:
        table = read_table(self.path, COLUMNS)
        client = counts(table, self.path, "client", 0)
        start_s = numbers(table, self.path, "start_s")
        rate_hz = numbers(table, self.path, "rate")
        shape = numbers(table, self.path, "p1")
        family = texts(table, self.path, "family")
        self._check(rate_hz, "rate", rate_hz > 0, "must be above 0")
        self._check(shape, "p1", shape > 0, "must be above 0")
        self._check(family, "family", np.isin(family, list(_FAMILIES)), "must be Gamma or Weibull")
        self._check(start_s, "start_s", start_s >= 0, "must be 0 or more")

        starts = np.unique(start_s)
        if len(starts) < 2:
            raise TraceError(f"{self.path}: one window alone does not tell how long windows are")
        length_s = float(np.diff(starts).min())
        first_s = self.start_ns / NS_PER_S
        end_s = float(starts[-1]) + length_s
        if first_s >= end_s:
            raise TraceError(f"{self.path} ends after {end_s:g} s; `start` is {first_s:g} s")
        # A window counts from its own start, so one that began before `start` is left out.
        first_s = (
            float(starts[np.searchsorted(starts, first_s)]) if first_s > 0 else float(starts[0])
        )
        if self.windows is not None:
            end_s = min(end_s, first_s + self.windows * length_s)
        use = (start_s >= first_s) & (start_s < end_s)
        if self.clients is not None:
            sent = np.bincount(client[use], weights=rate_hz[use])
            use &= np.isin(client, np.argsort(-sent, kind="stable")[: self.clients])
        order = np.flatnonzero(use)[np.lexsort((client[use], start_s[use]))]
        return _Windows(
            start_s[order] - first_s,
            rate_hz[order],
            family[order],
            shape[order],
            length_s,
            max(1, round((end_s - first_s) / length_s)),
        )

    def _check(
        self, values: NDArray[np.generic], column: str, good: NDArray[np.bool_], what: str
    ) -> None:
        bad = np.flatnonzero(~good)
        if len(bad):
            raise fail(self.path, int(bad[0]), column, f"{what}, not {values[bad[0]]}")


def _gamma(rng: Generator, shape: float, rate_hz: float, length_s: float) -> Float64:
    """Arrivals in [0, length) with Gamma gaps, in equilibrium at 0.

    The gap that spans 0 is drawn by its length: density x f(x) / mean, which is Gamma of shape + 1.
    """
    spanning = rng.standard_gamma(shape + 1) / shape

    def gaps(generator: Generator, count: int) -> Float64:
        return generator.standard_gamma(shape, count) / shape

    return _equilibrium(rng, spanning, gaps, rate_hz, length_s)


def _weibull(rng: Generator, shape: float, rate_hz: float, length_s: float) -> Float64:
    """Arrivals in [0, length) with Weibull gaps, in equilibrium at 0.

    If X is drawn with density x f(x) / mean, then (X / scale)^shape is Gamma of 1 + 1/shape.
    """
    mean = math.gamma(1 + 1 / shape)
    spanning = rng.standard_gamma(1 + 1 / shape) ** (1 / shape) / mean

    def gaps(generator: Generator, count: int) -> Float64:
        return generator.weibull(shape, count) / mean

    return _equilibrium(rng, spanning, gaps, rate_hz, length_s)


_FAMILIES: dict[str, Callable[[Generator, float, float, float], Float64]] = {
    "Gamma": _gamma,
    "Weibull": _weibull,
}


def _equilibrium(
    rng: Generator,
    spanning: float,
    gaps: Callable[[Generator, int], Float64],
    rate_hz: float,
    length_s: float,
) -> Float64:
    """Arrivals within a window: the first uniformly within the gap that spans its start, the others
    after gaps of mean 1. ``spanning`` and gaps are in units of 1/rate.
    """
    first = spanning * rng.random()
    end = length_s * rate_hz
    if first >= end:
        return np.empty(0)
    parts = [np.array([first])]
    for sums in cumulative(rng, gaps, int(1.2 * end) + 32):
        parts.append(first + sums[first + sums < end])
        if first + sums[-1] >= end:
            break
    return np.concatenate(parts) / rate_hz
