"""What a request costs in a run, measured as theory defines it, so that the two can be laid side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from policies.runlog import Outcome, RunLog
from policies.smdp_model import Figures
from reports.percentiles import NS_PER_S, Distribution
from reports.run import Run
from reports.steps import cover


@dataclass(frozen=True, slots=True)
class Steady:
    """A run of one stage between its warm-up and its end."""

    figures: Figures
    latency: Distribution
    late: float | None
    """Share of the requests that were answered after the objective; None without one."""
    whole_s: float
    """Mean latency of all requests, the first and the last too."""


def steady(run: Run, rate_hz: float, left_out: int = 0) -> Steady:
    """The means a request of a run's only stage, of the requests that arrive and the batches that go after
    the warm-up and before the last ``left_out`` arrivals: those may wait for others that never come.

    ``rate_hz`` is the arrival rate that the excess is told by. Raises ValueError for more than one
    stage, for requests without an answer, and where nothing is counted.
    """
    log = run.log
    if len(log.stages) != 1:
        raise ValueError(f"{run.name} has {len(log.stages)} stages; theory knows one")
    if not (log.requests.outcome == Outcome.COMPLETED).all():
        raise ValueError(f"{run.name} left requests without an answer")
    arrival_ns, batches = log.requests.arrival_ns, log.stages[0].batches
    end_ns = int(arrival_ns[len(arrival_ns) - 1 - left_out])
    counted = (arrival_ns >= run.warmup_ns) & (arrival_ns < end_ns)
    sent = (batches.dispatched_ns >= run.warmup_ns) & (batches.dispatched_ns < end_ns)
    requests = int(batches.requests[sent].sum())
    if not counted.any() or not requests:
        raise ValueError(
            f"{run.name} is too short: nothing is left between the warm-up and the last {left_out}"
            " requests; simulate more, or shorten the warm-up"
        )
    took_ns = (log.requests.ended_ns - arrival_ns)[counted]
    busy_ns = (batches.finished_ns - batches.dispatched_ns)[sent]
    limit_ns = None if run.objective is None else run.objective.latency_ns
    return Steady(
        figures=Figures(
            latency_s=float(took_ns.mean()) / NS_PER_S,
            busy_s=float(busy_ns.sum()) / NS_PER_S / requests,
            batches=int(np.count_nonzero(sent)) / requests,
            excess_s=0.0
            if limit_ns is None
            else _excess(log, run.warmup_ns, end_ns, rate_hz * limit_ns / NS_PER_S) / rate_hz,
        ),
        latency=Distribution.of(took_ns),
        late=None if limit_ns is None else float((took_ns > limit_ns).mean()),
        whole_s=float((log.requests.ended_ns - arrival_ns).mean()) / NS_PER_S,
    )


def _excess(log: RunLog, from_ns: int, to_ns: int, limit: float) -> float:
    """The mean over time of the requests in the pipeline beyond ``limit``."""
    steps = cover(log.requests.arrival_ns, log.requests.ended_ns)
    edges_ns = np.clip(np.append(steps.times_ns, steps.times_ns[-1]), from_ns, to_ns)
    beyond = np.maximum(steps.level - limit, 0)
    return float(beyond @ np.diff(edges_ns)) / (to_ns - from_ns)
