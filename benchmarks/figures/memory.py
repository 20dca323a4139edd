"""What many requests take: memory of whole processes, and the rate beside that of few requests."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks.measured_run import measured
from benchmarks.pipelines import PIPELINE4, ROOT
from benchmarks.table import Measured, Row, millions
from benchmarks.timing import Spread

FEW, MANY = 200_000, 10_000_000
PAIRS = 3
MOST_GB = 1.0
LEAST_SHARE = 2 / 3
"""Of the rate at few requests, what is to be left at many."""
REFERENCE_REQUESTS = 1_000_000
MOST_BYTES = 200
"""A request, on the SimPy driver."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rates at few and at many requests, a pair of processes each."""

    few_hz: list[float]
    many_hz: list[float]

    def add(self, few_s: float, many_s: float) -> None:
        """One pair of times."""
        self.few_hz.append(FEW / few_s)
        self.many_hz.append(MANY / many_s)

    def share(self) -> Spread:
        """The rate at many requests as a share of that at few, pair by pair."""
        return Spread.of([m / f for m, f in zip(self.many_hz, self.few_hz, strict=True)])

    def row(self, which: str) -> Row:
        """How much is left of the rate."""
        share = self.share().median
        return Row(
            f"{MANY:,} requests, rate, {which}",
            f"{millions(Spread.of(self.many_hz))}, {share:.2f} of that at {FEW:,}",
            f"at least {LEAST_SHARE:.2f} of it",
            share >= LEAST_SHARE,
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "few_hz": Spread.of(self.few_hz).as_dict(),
            "many_hz": Spread.of(self.many_hz).as_dict(),
            "share": self.share().as_dict(),
        }


def measure() -> Measured:
    """Ten million requests on the compiled driver, then bytes a request on the reference."""
    warm = Pairs([], [])
    first = Pairs([], [])
    peaks_gb = []
    for _ in range(PAIRS):
        few = measured(PIPELINE4, FEW, rounds=10)
        many = measured(PIPELINE4, MANY, rounds=4)
        warm.add(statistics.median(few.simulate_s[1:]), statistics.median(many.simulate_s[1:]))
        # A process's first run touches its memory for the first time, which costs many requests more.
        first.add(few.simulate_s[0], many.simulate_s[0])
        peaks_gb.append(many.peak_bytes / 1e9)
    peak_gb = max(peaks_gb)
    rows = [
        Row(
            f"{MANY:,} requests, peak memory of the process",
            f"{peak_gb:.2f} GB",
            f"at most {MOST_GB:g} GB",
            peak_gb <= MOST_GB,
        ),
        warm.row("memory touched before"),
        first.row("first run of a process"),
    ]
    reference = {name: _bytes_a_request(name) for name in ("pipeline4.yaml", "mm1.yaml")}
    rows += [
        Row(
            f"SimPy driver, {REFERENCE_REQUESTS:,} requests of {name}",
            f"{size:.0f} bytes a request",
            f"under {MOST_BYTES} bytes",
            size < MOST_BYTES,
        )
        for name, size in reference.items()
    ]
    data: dict[str, Any] = {
        "few": FEW,
        "many": MANY,
        "warm": warm.as_dict(),
        "first": first.as_dict(),
        "peak_gb": peaks_gb,
        "reference_bytes_a_request": reference,
    }
    return Measured(tuple(rows), data)


def _bytes_a_request(name: str) -> float:
    """How much more a run of many requests peaks at than one of few, on the SimPy driver."""
    few = REFERENCE_REQUESTS // 10
    peaks = [
        measured(ROOT / "configs" / name, count, engine="simpy").simulate_peak_bytes
        for count in (few, REFERENCE_REQUESTS)
    ]
    return (peaks[1] - peaks[0]) / (REFERENCE_REQUESTS - few)
