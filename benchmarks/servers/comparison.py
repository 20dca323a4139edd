"""Real and simulated batch sizes and latencies, run by run, and the errors over the runs of a load."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.servers.beside import Served, constant_ns, measured, simulated, turnaround_ns
from benchmarks.servers.session import Session
from policies.runlog import Int64

PERCENTILES = (50, 99)
TARGET = 0.10


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared of one run, on one side."""

    p50_ms: float
    p99_ms: float
    batch: float
    """Mean requests in a batch."""
    shares: tuple[float, ...]
    """Share of batches with 1, 2, ... requests."""

    @staticmethod
    def of(latency_ns: Int64, batch_of: Int64, max_batch: int) -> Side:
        """Of requests with these latencies, each in a batch of so many."""
        p50_ms, p99_ms = np.percentile(latency_ns, PERCENTILES) / 1e6
        # Each of its n requests counts an n-th of a batch.
        batches = np.bincount(batch_of, 1 / batch_of, max_batch + 1)[1:]
        shares = tuple((batches / batches.sum()).tolist())
        return Side(float(p50_ms), float(p99_ms), len(batch_of) / float(batches.sum()), shares)

    def later(self, by_ms: float) -> Side:
        """With so much added to every latency."""
        return Side(self.p50_ms + by_ms, self.p99_ms + by_ms, self.batch, self.shares)

    def distance(self, other: Side) -> float:
        """Total variation between the distributions of batch sizes, 0 to 1."""
        pairs = zip(self.shares, other.shares, strict=True)
        return sum(abs(one - two) for one, two in pairs) / 2


@dataclass(frozen=True, slots=True)
class Run:
    """One run at one load."""

    load: float
    requests: int
    unanswered: int
    """Requests without an answer, counted on neither side."""
    late_p99_ms: float
    """How late the client sent, 99th percentile; it counts to the real latency."""
    real: Side
    bare: Side
    """Simulated with the model's own times and nothing else."""
    constant: Side
    """With what a request alone takes longer added to every latency."""
    own: Side
    """With the server's turnaround in the batches' time, by requests, and the constant that is left."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A server's session beside its simulation."""

    constant_ms: float
    turnaround_ms: float
    left_ms: float
    """The constant that is left where the turnaround is in the batches' time."""
    service_ms: tuple[float, float]
    """The model's time for a batch, as measured: (base, per request), by least squares."""
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one load, medians over its runs of the absolute relative errors."""

    p50: float
    p99: float
    batch: float
    distance: float

    @property
    def reached(self) -> bool:
        """Whether both percentiles are as near as asked."""
        return max(self.p50, self.p99) <= TARGET


def compare(session: Session, policy: Mapping[str, object], seed: int) -> Compared:
    """Each run of the session under load."""
    real, bare = measured(session), simulated(session, policy, seed)
    extra_ns = turnaround_ns(session)
    own = simulated(session, policy, seed, extra_ns)
    constant_ms, left_ms = (constant_ns(session, real, side) / 1e6 for side in (bare, own))
    cap = session.settings.max_batch
    late_ns = session.exchange.sent_ns - session.exchange.due_ns
    runs = []
    for part in session.schedule.parts:
        if not part.load:
            continue
        these = np.arange(part.first, part.end)
        answered = these[(real.latency_ns[these] >= 0) & (real.batch[these] > 0)]
        sides = [_side(served, answered, cap) for served in (real, bare, own)]
        runs.append(
            Run(
                part.load,
                len(these),
                len(these) - len(answered),
                float(np.percentile(late_ns[these], 99) / 1e6),
                sides[0],
                sides[1],
                sides[1].later(constant_ms),
                sides[2].later(left_ms),
            )
        )
    slope, base = np.polyfit(session.batches.requests, session.batches.service_ns / 1e6, 1)
    service_ms = (float(base), float(slope))
    return Compared(constant_ms, extra_ns / 1e6, left_ms, service_ms, tuple(runs))


def _side(served: Served, requests: Int64, max_batch: int) -> Side:
    return Side.of(served.latency_ns[requests], served.batch[requests], max_batch)


def errors(pairs: Sequence[tuple[Side, Side]]) -> Errors:
    """Over runs: (real, simulated) of each."""

    def median(of: Sequence[float]) -> float:
        return statistics.median(abs(value) for value in of)

    return Errors(
        median([told.p50_ms / real.p50_ms - 1 for real, told in pairs]),
        median([told.p99_ms / real.p99_ms - 1 for real, told in pairs]),
        median([told.batch / real.batch - 1 for real, told in pairs]),
        median([real.distance(told) for real, told in pairs]),
    )
