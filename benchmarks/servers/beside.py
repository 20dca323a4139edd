"""A server's session as the simulator has it, and what the server itself takes, from its idle moments."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

import sim.kinds  # noqa: F401  (makes the kinds known)
from benchmarks.servers.session import Session
from configs.load import parse_config
from configs.model import Config
from policies.runlog import Int64, RunLog
from policies.workload import Workload
from sim.simulate import simulate

WAITED_NS = 10_000_000
"""So long before the end of a batch a request was due that surely was in the server's queue by then."""
LEAST = 5
"""From fewer batches no turnaround is taken."""


@dataclass(frozen=True, slots=True)
class Served:
    """What became of each request, on either side."""

    latency_ns: Int64
    """From when it was due; negative where it was not answered."""
    batch: Int64
    """Requests in the batch that it went with; 0 where it went with none."""


def measured(session: Session) -> Served:
    """The real side."""
    exchange = session.exchange
    sizes = np.zeros(len(exchange.due_ns), np.int64)
    for requests, members in zip(session.batches.requests, session.batches.members, strict=True):
        sizes[list(members)] = requests
    answered = exchange.answered_ns >= 0
    return Served(np.where(answered, exchange.answered_ns - exchange.due_ns, -1), sizes)


def simulated(
    session: Session, policy: Mapping[str, object], seed: int, turnaround_ns: int = 0
) -> Served:
    """The whole session under the policy. A batch takes what the model's own batches of its size were
    measured to take, resampled in blocks, and its share of the turnaround of a full batch, by requests:
    most of that is answering each, and taking in each that came meanwhile.
    """
    batches, full = session.batches, session.settings.max_batch
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder, "batches.csv")
        columns = {
            "requests": batches.requests,
            "service_ns": batches.service_ns + turnaround_ns * batches.requests // full,
        }
        pyarrow.csv.write_csv(pa.table(columns), samples)
        config = _config(full, policy, samples, seed)
        log = simulate(config, workload=Workload.of(session.schedule.offsets_ns))
    return Served(log.requests.ended_ns - log.requests.arrival_ns, _batch_of(log))


def _config(max_batch: int, policy: Mapping[str, object], samples: Path, seed: int) -> Config:
    service = {
        "kind": "empirical",
        "path": str(samples),
        "column": "service_ns",
        "requests_column": "requests",
    }
    stage = {"name": "model", "max_batch": max_batch, "service": service, "policy": dict(policy)}
    # The workload is replaced by the session's own arrivals.
    workload = {"arrivals": {"kind": "poisson", "rate": "1/s"}, "requests": 1}
    return parse_config({"name": "server", "seed": seed, "workload": workload, "stages": [stage]})


def _batch_of(log: RunLog) -> Int64:
    visits = log.stages[0].visits.made()
    sizes = np.zeros(len(log.requests), np.int64)
    sizes[visits.request] = log.stages[0].batches.requests[visits.row]
    return sizes


def constant_ns(session: Session, real: Served, beside: Served) -> float:
    """What a request alone takes longer than simulated, by the medians: HTTP there and back."""
    alone = session.schedule.parts[0].requests
    return float(np.median(real.latency_ns[alone]) - np.median(beside.latency_ns[alone]))


def turnaround_ns(session: Session) -> int:
    """What the server takes from the end of a batch to the begin of the next, where that was full of
    requests that waited already: the median; 0 where there were fewer than ``LEAST`` such batches.
    """
    batches, due_ns = session.batches, session.exchange.due_ns
    gaps_ns = [
        int(batches.begun_ns[k] - batches.ended_ns[k - 1])
        for k in range(1, len(batches.requests))
        if batches.requests[k] == session.settings.max_batch
        and max(due_ns[list(batches.members[k])]) < batches.ended_ns[k - 1] - WAITED_NS
    ]
    return round(float(np.median(gaps_ns))) if len(gaps_ns) >= LEAST else 0
