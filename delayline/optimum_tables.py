"""Policies beside the optimum, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console

from delayline.foresight import Foresight
from delayline.optimum import Beside, Rated
from delayline.tables import number, plain_table
from policies.smdp_model import Figures, Weights
from policies.smdp_solver import Optimum
from reports.numbers import NONE, figure, percent
from reports.steady import Steady
from sim.optimum.relaxation import NAME, Relaxed
from sim.statistics import Interval, mean_interval


def print_beside(console: Console, found: Beside) -> None:
    """One stage: its policies, and what theory predicts."""
    config, stage = found.stage.config, found.stage
    console.print(
        f"{config.replications} replications of {_requests(found)}, {number(stage.rate_hz)}/s,"
        f" {stage.servers} at a time in batches of up to {stage.max_batch}, load {number(stage.load)}",
        soft_wrap=True,
    )
    console.print(f"cost of a request: {_formula(found.weights)}")
    console.print()
    heads = ("latency\nmean ms", "p99 ms", "busy\nms", "mean\nbatch", "cost\nms", "±")
    late = () if config.objective is None else ("late",)
    excess = ("excess\nms",) if found.weights.excess else ()
    known = ("latency by\nforesight's",) if found.foresight else ()
    table = plain_table("", *heads, *excess, *late, "above the\n" + _against(found), "±", *known)
    for rated in (*([found.optimum] if found.optimum else []), *found.rated):
        table.add_row(rated.name, *_cells(found, rated))
    console.print(table)
    console.print()
    for line in _told(found):
        console.print(line, soft_wrap=True)


def _requests(found: Beside) -> str:
    asked = found.stage.config.workload
    if asked.requests is not None:
        return f"{asked.requests:,} requests"
    return f"{number((asked.duration_ns or 0) / 1e9)} s"


def _against(found: Beside) -> str:
    return "bound" if isinstance(found.theory, Relaxed) else "optimum"


def _formula(weights: Weights) -> str:
    parts = [
        f"{'' if weight == 1 else f'{weight:g} '}{what}"
        for weight, what in (
            (weights.latency, "latency"),
            (weights.busy, "busy time"),
            (weights.excess, "excess over the objective"),
        )
        if weight
    ]
    if weights.batch_s:
        parts.append(f"{number(weights.batch_s * 1e3)} ms a batch")
    return " + ".join(parts)


def _cells(found: Beside, rated: Rated) -> Iterator[str]:
    means = mean_figures(rated.runs)
    yield number(means.latency_s * 1e3)
    yield number(float(np.mean([run.latency.p99_ms or 0.0 for run in rated.runs])))
    yield number(means.busy_s * 1e3)
    yield number(1 / means.batches)
    yield number(rated.paid.estimate * 1e3)
    yield figure(rated.paid.half_width * 1e3, 2)
    if found.weights.excess:
        yield number(means.excess_s * 1e3)
    if found.stage.config.objective is not None:
        yield percent(float(np.mean([run.late or 0.0 for run in rated.runs])))
    gap = None if rated is found.optimum else found.gap(rated)
    yield NONE if gap is None else _signed(gap.estimate)
    yield NONE if gap is None else f"{100 * gap.half_width:.2g}%"
    if found.foresight is not None:
        yield f"×{_by_foresight(found.foresight, rated):.3f}"


def _by_foresight(known: Foresight, rated: Rated) -> float:
    """The mean latency of all requests over the least that foresight could reach."""
    return sum(run.whole_s for run in rated.runs) / sum(known.latency_s)


def _signed(share: float) -> str:
    text = f"{100 * share:+.2f}%"
    return "±0%" if text in ("+0.00%", "-0.00%") else text


def _told(found: Beside) -> Iterator[str]:
    yield (
        f"± is half of the 95% confidence interval over {found.stage.config.replications} replications"
        f"{'; differences are taken in the same arrivals and noise' if found.optimum else ''}"
    )
    if isinstance(found.theory, Optimum):
        yield from _predicted(found.theory)
    elif isinstance(found.theory, Relaxed):
        yield (
            f"bound: {number(found.theory.paid_s * 1e3)} ms, by relaxation ({NAME}): no policy costs less,"
            " and none need reach it"
        )
    if found.foresight is not None:
        yield _foreseen(found.foresight)


def _foreseen(known: Foresight) -> str:
    late = (
        f", and none has fewer than {percent(float(np.mean(known.late)))} late"
        if known.late
        else ""
    )
    return (
        "clairvoyant: with all arrivals known, no schedule has a mean latency below"
        f" {number(float(np.mean(known.latency_s)) * 1e3)} ms{late}"
    )


def _predicted(theory: Optimum) -> Iterator[str]:
    told = theory.figures
    yield (
        f"predicted of the optimum: latency {number(told.latency_s * 1e3)} ms, busy"
        f" {number(told.busy_s * 1e3)} ms, batches of {number(1 / told.batches)}, cost"
        f" {number(theory.paid_s * 1e3)} ms"
    )
    yield (
        f"solved in {theory.steps} steps for queues of up to {theory.states:,} requests; the chance of a"
        f" longer one is {theory.overflow:.0e}"
    )
    yield f"optimal: {in_words(theory.table)}"


def in_words(table: Sequence[int]) -> str:
    """A table as a rule: from which queue on how many are sent."""
    waits = [n for n, sent in enumerate(table) if not sent and n]
    text = f"send from {_first(table)} waiting on"
    if any(n > _first(table) for n in waits):
        text = f"wait with {', '.join(map(str, waits))} waiting"
    partly = [n for n, sent in enumerate(table) if 0 < sent < n]
    return f"{text}, {f'part of the queue from {partly[0]} on' if partly else 'all that fits'}"


def _first(table: Sequence[int]) -> int:
    return next(n for n, sent in enumerate(table) if sent)


def mean_figures(runs: Sequence[Steady]) -> Figures:
    """The means over replications."""
    each = [run.figures for run in runs]
    return Figures(
        latency_s=float(np.mean([one.latency_s for one in each])),
        busy_s=float(np.mean([one.busy_s for one in each])),
        batches=float(np.mean([one.batches for one in each])),
        excess_s=float(np.mean([one.excess_s for one in each])),
    )


def beside_json(found: Beside) -> dict[str, object]:
    """One stage, as ``compare --optimum --json`` has it; times in milliseconds."""
    theory = found.theory
    told: dict[str, object] = {
        "rate_rps": found.stage.rate_hz,
        "poisson": found.stage.poisson,
        "replicas": found.stage.servers,
        "max_batch": found.stage.max_batch,
        "load": found.stage.load,
        "replications": found.stage.config.replications,
        "optimum": None,
        "bound": None,
        "clairvoyant": None,
        "policies": [
            {**_rated_json(rated), "gap": _interval_json(found.gap(rated))} for rated in found.rated
        ],
    }
    if isinstance(theory, Optimum):
        told["optimum"] = {
            "table": list(theory.table),
            "predicted": _figures_json(theory.figures, theory.paid_s),
            "least_ms": theory.least_s * 1e3,
            "states": theory.states,
            "overflow": theory.overflow,
            "simulated": _rated_json(found.optimum) if found.optimum else None,
        }
    elif isinstance(theory, Relaxed):
        told["bound"] = {"name": NAME, "cost_ms": theory.paid_s * 1e3}
    if found.foresight is not None:
        late = found.foresight.late
        told["clairvoyant"] = {
            "latency_ms": float(np.mean(found.foresight.latency_s)) * 1e3,
            "late": float(np.mean(late)) if late else None,
        }
    return told


def _rated_json(rated: Rated) -> dict[str, object]:
    paid = rated.paid
    ms = Interval(paid.estimate * 1e3, paid.low * 1e3, paid.high * 1e3, paid.level)
    latency = mean_interval([run.figures.latency_s * 1e3 for run in rated.runs])
    late = [run.late for run in rated.runs if run.late is not None]
    return {
        "name": rated.name,
        **_figures_json(mean_figures(rated.runs), paid.estimate),
        "cost": _interval_json(ms),
        "latency": _interval_json(latency),
        "p99_ms": float(np.mean([run.latency.p99_ms or 0.0 for run in rated.runs])),
        "late": float(np.mean(late)) if late else None,
        "whole_latency_ms": float(np.mean([run.whole_s for run in rated.runs])) * 1e3,
    }


def _figures_json(figures: Figures, paid_s: float) -> dict[str, float]:
    return {
        "latency_ms": figures.latency_s * 1e3,
        "busy_ms": figures.busy_s * 1e3,
        "mean_batch": 1 / figures.batches,
        "excess_ms": figures.excess_s * 1e3,
        "cost_ms": paid_s * 1e3,
    }


def _interval_json(found: Interval | None) -> dict[str, float] | None:
    if found is None:
        return None
    return {"value": found.estimate, "low": found.low, "high": found.high}
