"""What a run amounts to, in plain words: the first thing that a report says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import isinf

from reports.breakdown import PARTS, Breakdown
from reports.metrics import Metrics
from reports.numbers import figure, percent
from reports.objective import reached_ms
from reports.percentiles import NS_PER_MS
from reports.run import Objective, Run
from reports.totals import latencies_ns
from reports.validation import SOURCES, ErrorSummary, Validation

_PART_WORDS = {
    "merge": "waiting for other branches",
    "hold": "being held for a batch",
    "wait": "waiting for a replica or slot",
    "service": "being served",
}


class State(Enum):
    """How a run stands to its objective."""

    MET = "met"
    PARTLY = "partly"
    """Met, although some requests were not answered."""
    MISSED = "missed"
    OPEN = "open"
    """There is no objective, or no answer to judge."""


@dataclass(frozen=True, slots=True)
class Headline:
    """One sentence, and what else a reader should know at once."""

    state: State
    sentence: str
    details: tuple[str, ...]


def headline(run: Run, metrics: Metrics, breakdown: Breakdown) -> Headline:
    """What to say of a run first, from its metrics and where its time goes."""
    details = [_answered(metrics)]
    latencies = latencies_ns(run.log, run.warmup_ns)
    if len(latencies) == 0:
        return Headline(State.OPEN, "No request was answered after the warm-up.", tuple(details))
    details += [told for told in (_where(breakdown), _busiest(metrics)) if told]
    rate = f"{figure(metrics.throughput_rps)} answers/s"
    if run.objective is None:
        sentence = (
            f"p99 latency is {figure(metrics.latency.p99_ms)} ms at {rate}. No objective was set."
        )
        return Headline(State.OPEN, sentence, tuple(details))
    within = float((latencies <= run.objective.latency_ns).mean())
    goal = f"{run.objective.latency_ns / NS_PER_MS:g} ms"
    details.insert(0, f"{percent(within)} of the answers came within {goal}.")
    state, sentence = _against(run, run.objective, metrics, rate)
    return Headline(state, sentence, tuple(details))


def _against(run: Run, objective: Objective, metrics: Metrics, rate: str) -> tuple[State, str]:
    """How the run stands to its objective, a request without an answer counting as late."""
    goal_ms, reached = objective.latency_ns / NS_PER_MS, reached_ms(run)
    name = f"p{objective.percentile:g} latency"
    if isinf(reached):
        return State.MISSED, (
            f"Objective missed: so many requests were not answered that {name} has no bound; "
            f"{goal_ms:g} ms was asked."
        )
    gap_ms = abs(goal_ms - reached)
    fact = f"{name} is {figure(reached)} ms at {rate}, {figure(gap_ms)} ms ({percent(gap_ms / goal_ms)})"
    if reached > goal_ms:
        return State.MISSED, f"Objective missed: {fact} over {goal_ms:g} ms."
    state = State.MET if metrics.completed == metrics.arrived else State.PARTLY
    return state, f"Objective met: {fact} inside {goal_ms:g} ms."


def _answered(metrics: Metrics) -> str:
    lost = metrics.arrived - metrics.completed
    if lost == 0:
        return f"All {metrics.arrived:,} requests were answered."
    causes = (
        (metrics.shed, "refused at a full queue"),
        (metrics.expired, "dropped at their deadline"),
        (metrics.failed, "failed"),
        (metrics.pending, "still under way at the end"),
    )
    told = ", ".join(f"{count:,} {cause}" for count, cause in causes if count)
    return (
        f"{lost:,} of {metrics.arrived:,} requests ({percent(lost / metrics.arrived)}) "
        f"were not answered: {told}. Latency is that of the others."
    )


def _where(breakdown: Breakdown) -> str:
    """At which stage a request spends most, and on what."""
    stage = max(breakdown.stages, key=lambda each: each.total, default=None)
    if stage is None or stage.total == 0:
        return ""
    most = max(PARTS, key=stage.get)
    if len(breakdown.stages) == 1:
        return f"A request spends most of its time {_PART_WORDS[most]}."
    return (
        f"A request spends most of its time at {stage.name}: {figure(stage.total)} ms on average, "
        f"{percent(stage.get(most) / stage.total)} of it {_PART_WORDS[most]}."
    )


def _busiest(metrics: Metrics) -> str:
    """What has least room left: a stage's replicas, or a device that they compete for."""
    found = [
        (each.utilization, f"Stage {each.name} is busiest: its replicas run batches")
        for each in metrics.stages
    ]
    found += [
        (each.utilization, f"Device {each.name} is busiest: its slots are in use")
        for each in metrics.devices
        if each.contended
    ]
    share, words = max(found, key=lambda each: each[0] or 0.0, default=(None, ""))
    return f"{words} {percent(share)} of the time." if share else ""


def validation_headline(validation: Validation) -> Headline:
    """How far to trust the simulation; no state, for there is no bound to keep."""
    told = {source: _errors(validation.summary(source)) for source in SOURCES}
    count = len(validation.scenarios)
    over = f"{count} scenario" + ("" if count == 1 else "s")
    return Headline(
        State.OPEN,
        f"Predicted latency is off by {told['predicted']}, over {over}.",
        (
            f"Two real runs of one setting differ by {told['repeat']}: no prediction can do better "
            "but by chance.",
            f"Replaying a run's own arrivals and batch times is off by {told['replayed']}: what is "
            "left is scheduling.",
        ),
    )


def _errors(summary: ErrorSummary) -> str:
    median, high = figure(summary.median_abs_pct, 2), figure(summary.p95_abs_pct, 2)
    return f"{median}% in the median and {high}% at the 95th percentile"
