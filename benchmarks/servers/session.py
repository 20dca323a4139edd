"""One server's session: requests alone, then runs at several loads, all by one schedule.

A session is one server process from its start on, and is simulated whole, so that what a server learns
from earlier batches is learnt there too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.servers.client import Client, Exchange, Target
from benchmarks.servers.kinds import Kind
from benchmarks.servers.process import running
from benchmarks.servers.settings import Settings
from benchmarks.servers.timed_model import Batches
from policies.runlog import Int64

S = 1_000_000_000
WARM_UP_HZ, ALONE_HZ = 20.0, 6.0
"""The second leaves 125 ms or more to each request alone, longer than any takes."""
PAUSE_NS = S // 2
PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The model's time, the settings of all servers, and what is sent.

    Times of tens of milliseconds, so that what HTTP takes on few cores is small beside them.
    """

    base_ns: int = 50_000_000
    per_request_ns: int = 5_000_000
    max_batch: int = 8
    loads: tuple[float, ...] = (0.3, 0.55, 0.8)
    """Shares of the rate that full batches back to back serve."""
    runs: int = 3
    """At each load."""
    seconds: float = 15.0
    """At each load, shared by its runs."""
    seed: int = 1
    warm_up: int = 60
    """First requests, which no figure counts: connections open, and code runs for the first time."""
    alone: int = 30
    """Requests that find nothing else in the server, one at a time."""


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive requests of a session, ``first`` to ``end - 1``."""

    load: float
    """Share of the capacity of full batches; 0 for the requests sent alone."""
    first: int
    end: int

    @property
    def requests(self) -> slice:
        """These requests."""
        return slice(self.first, self.end)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When each request is due from the start, and the parts that are looked at."""

    offsets_ns: Int64
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """What a session of a server was and became."""

    settings: Settings
    schedule: Schedule
    exchange: Exchange
    batches: Batches

    @property
    def latency_ns(self) -> Int64:
        """From when a request was due until its answer was there."""
        return self.exchange.answered_ns - self.exchange.due_ns


def schedule(capacity_hz: float, plan: Plan) -> Schedule:
    """Warm-up, requests alone, then all loads in turn, ``runs`` times. Poisson arrivals, of a number that
    is fixed beforehand.
    """
    rng = np.random.default_rng(plan.seed)
    warm_up = np.arange(plan.warm_up) * (S / WARM_UP_HZ)
    # Alone, but at no fixed phase to anything that the server does periodically.
    idle = warm_up[-1] + PAUSE_NS + np.cumsum(rng.uniform(0.75, 1.25, plan.alone)) * (S / ALONE_HZ)
    pieces, parts = [warm_up, idle], [Part(0.0, plan.warm_up, plan.warm_up + plan.alone)]
    for _ in range(plan.runs):
        for load in plan.loads:
            rate_hz = load * capacity_hz
            count = max(1, round(rate_hz * plan.seconds / plan.runs))
            gaps_ns = rng.exponential(S / rate_hz, count)
            pieces.append(pieces[-1][-1] + PAUSE_NS + np.cumsum(gaps_ns))
            parts.append(Part(load, parts[-1].end, parts[-1].end + count))
    return Schedule(np.concatenate(pieces).astype(np.int64), tuple(parts))


def run_session(kind: Kind, plan: Plan) -> Session:
    """Start the server, send it the plan, and stop it. Raises StartError or LoadError."""
    with running(kind, plan.base_ns, plan.per_request_ns, plan.max_batch) as settings:
        planned = schedule(settings.capacity_hz, plan)
        target = Target(settings.port, kind.path, kind.content_type, kind.body)
        exchange = Client(target, planned.offsets_ns, PATIENCE_S).run()
        return Session(settings, planned, exchange, Batches.read(Path(settings.log)))
