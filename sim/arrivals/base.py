"""What an arrival process is: times in, nothing else; and what every one of them shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from policies.runlog import Int64

Float64 = NDArray[np.float64]

NS_PER_S = 1_000_000_000
MAX_RATE_HZ = 1e9
"""One a nanosecond: the clock's resolution."""
MAX_CHUNK = 1 << 18
"""Most arrivals drawn at once: bounds the memory beyond the result."""
LATEST_NS = 2**62
"""Arrivals beyond this (146 years) would leave no room for deadlines and service after them."""


class ArrivalProcess(ABC):
    """One way in which requests arrive. Subclasses are frozen dataclasses whose fields are knobs."""

    kind: ClassVar[str]

    @abstractmethod
    def times_ns(self, rng: Generator, requests: int | None, duration_ns: int | None) -> Int64:
        """Arrival times, sorted, from 0 on: the first ``requests`` of them, those before
        ``duration_ns``, or both, whichever ends first. Recorded arrivals may end sooner.

        Either bound only cuts: from the same generator, the times within both are the same. Raises
        ValueError where neither bound is given to a process that has no end.
        """

    def check_end(self, requests: int | None, duration_ns: int | None) -> None:
        """Raise ValueError where these bounds leave the process without an end."""
        check_bounded(requests, duration_ns)

    @abstractmethod
    def mean_rate_hz(self) -> float:
        """Arrivals a second in the long run (of recorded arrivals: over the record)."""

    @abstractmethod
    def scaled(self, factor: float) -> Self:
        """The same pattern at ``factor`` times the rate. Raises ValueError unless factor > 0."""

    def items(self, count: int) -> Int64 | None:  # noqa: ARG002
        """The sizes of the first ``count`` requests, where the record of arrivals holds them."""
        return None


def check_bounded(requests: int | None, duration_ns: int | None) -> None:
    """Raise ValueError unless there is one bound at least."""
    if requests is None and duration_ns is None:
        raise ValueError("these arrivals have no end: give `requests`, `duration` or both")


def check_factor(factor: float) -> float:
    """The factor, which must be a positive finite number."""
    if not 0 < factor < float("inf"):
        raise ValueError(f"the factor of a rate must be above 0 and finite, not {factor}")
    return factor


def cut(times_ns: Int64, requests: int | None, duration_ns: int | None) -> Int64:
    """What lies within the bounds of sorted times."""
    stop = len(times_ns) if requests is None else min(requests, len(times_ns))
    if duration_ns is not None:
        stop = min(stop, int(np.searchsorted(times_ns, duration_ns, side="left")))
    return times_ns[:stop]


def first_within(chunks: Iterable[Float64], requests: int | None, duration_ns: int | None) -> Int64:
    """The times within the bounds of an endless process.

    ``chunks`` yields consecutive sorted times in nanoseconds since the start, unrounded; each is
    rounded here once, so that no error accumulates.
    """
    check_bounded(requests, duration_ns)
    found: list[Int64] = []
    have = 0
    for chunk in chunks:
        early = chunk[: int(np.searchsorted(chunk, LATEST_NS))]
        chunk_ns = np.rint(early).astype(np.int64)
        found.append(chunk_ns)
        have += len(chunk_ns)
        if requests is not None and have >= requests:
            break
        if duration_ns is not None and len(chunk) and chunk[-1] >= duration_ns + 1:
            break
        if len(early) < len(chunk):
            raise ValueError(
                f"arrival {have + 1} would come after 146 years: "
                "raise `rate`, ask for fewer `requests` or give a `duration`"
            )
    return cut(np.concatenate(found or [np.empty(0, np.int64)]), requests, duration_ns)


def chunk_size(rate_hz: float, requests: int | None, duration_ns: int | None) -> int:
    """How many arrivals to draw at once so that one or two draws do; it never changes the result."""
    wanted = float(MAX_CHUNK) if requests is None else float(requests)
    if duration_ns is not None:
        expected = rate_hz * duration_ns / NS_PER_S
        wanted = min(wanted, expected + 4 * expected**0.5)
    return int(min(wanted + 16, MAX_CHUNK))
