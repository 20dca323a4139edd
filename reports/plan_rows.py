"""Plans that were compared, as values: what each came to at each load, simulated or real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from policies.runlog import RunLog
from reports.objective import waits_ns
from reports.run import Objective
from reports.totals import totals


@dataclass(frozen=True, slots=True)
class Judged:
    """How good the lists are: predicted by a configuration's quality table, or measured on those returned."""

    ndcg: float | None = None
    """NDCG@10."""
    recall: float | None = None
    agreement: float | None = None
    """Share of the full model's top 10 that is in the list."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of a plan; None stands for a figure without data."""

    mean_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    goodput_rps: float | None
    within: float
    """Share of all requests that were answered within the objective."""
    busy_s_per_1000: float | None
    """Time that replicas were busy for 1,000 answers."""
    judged: Judged | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What replicas take, in bytes; configured, or measured as the resident size of their processes."""

    replica_bytes: int
    """Of the largest."""
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Served:
    """A plan at a load."""

    plan: str
    load: float
    real: bool
    setting: str
    """What was chosen for it, in a few words."""
    runs: tuple[Outcome, ...]
    """By replication, all plans having met the same requests in each."""
    memory: Memory | None

    def mean(self, value: Callable[[Outcome], float | None]) -> float | None:
        """A figure over the replications; None where one has none."""
        values = [value(run) for run in self.runs]
        known = [each for each in values if each is not None]
        return fmean(known) if known and len(known) == len(values) else None


@dataclass(frozen=True, slots=True)
class Left:
    """A plan that was not served, and why."""

    plan: str
    why: str
    real: bool


def outcome(
    log: RunLog, objective: Objective, warmup_ns: int, judged: Judged | None = None
) -> Outcome:
    """What a run came to after a warm-up cut."""
    whole = totals(log, objective_ns=objective.latency_ns, warmup_ns=warmup_ns)
    took_ns = waits_ns(log, warmup_ns)
    in_time = int((took_ns <= objective.latency_ns).sum())
    return Outcome(
        mean_ms=whole.latency.mean_ms,
        p50_ms=whole.latency.p50_ms,
        p99_ms=whole.latency.p99_ms,
        max_ms=whole.latency.max_ms,
        goodput_rps=whole.goodput_rps,
        within=in_time / len(took_ns) if len(took_ns) else 0.0,
        busy_s_per_1000=whole.cost.busy_seconds_per_1000,
        judged=judged,
    )


def at(rows: Sequence[Served], plan: str, load: float, *, real: bool) -> Served | None:
    """The row of a plan at a load, if it was served."""
    wanted = (plan, load, real)
    return next((row for row in rows if (row.plan, row.load, row.real) == wanted), None)
