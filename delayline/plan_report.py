"""The page of a plan: tables and figures out of its values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from configs.dump import dump_config
from configs.model import Config
from delayline.plan_tables import hour_rows, runner_up_rows, saved, stage_rows
from delayline.planned import asked, cost_text, planned_config, told
from reports.figures import planning as figures
from reports.figures.planning import Spot, Step
from reports.plan_page import Part, PlanPage, write_plan_page
from sim.planning.plan import Plan
from sim.planning.verify import Verified

_LATER = 1e9
"""Milliseconds that stand for overload: beyond any axis."""


def write_plan_report(path: Path, config: Config, plan: Plan) -> None:
    """Write the page of a plan for ``config``. Raises OSError."""
    first, *others = told(plan)
    page = PlanPage(
        title=plan.planned.config.name,
        asked=asked(plan),
        headline=f"{cost_text(plan, plan.best.cost)}: {first}",
        details=tuple(others),
        parts=list(_parts(plan)),
        config=dump_config(planned_config(config, plan), path.absolute().parent).partition("\n")[2],
    )
    write_plan_page(path, page)


def _parts(plan: Plan) -> Iterator[Part]:
    latency = f"p{plan.planned.objective.percentile:g} latency, ms"
    cost = "cost an hour" if plan.planned.priced else "replicas"
    goal_ms = plan.planned.objective_ms
    yield Part(
        "The plan",
        (
            "Load is the share of what the replicas could serve in batches of the size that suits them"
            " best. The last column is the latency in steady state with one replica less.",
        ),
        stage_rows(plan),
    )
    tried = [Spot(t.cost, _shown(t.latency_ms)) for t in plan.trials]
    verified = [_spot(each) for each in (plan.best, *plan.runners_up)]
    yield Part(
        "Cost against latency",
        (
            f"{len(plan.trials)} allocations were tried on runs as short as told them apart;"
            " diamonds are of fresh replications, with 95% intervals.",
        ),
        runner_up_rows(plan) if plan.runners_up else None,
        figures.cost_against_latency(tried, verified, goal_ms, latency, cost),
    )
    curve = [
        (each.rate_hz, found.estimate, found.low, found.high)
        for each in plan.headroom.curve
        if (found := each.interval) is not None
    ]
    yield Part(
        "Latency against the rate",
        ("The band is the 95% interval over fresh replications, the same at every rate.",),
        None,
        figures.latency_against_rate(
            curve, plan.planned.rate_hz, plan.headroom.max_rate_hz, goal_ms, latency
        ),
    )
    if plan.schedule is not None:
        steps = [Step(hour.rate_hz, hour.cost) for hour in plan.schedule.hours]
        yield Part(
            "By hour",
            (
                f"{saved(plan)[0].upper()}{saved(plan)[1:]}. Each hour has what its highest rate"
                " needs; starting and stopping replicas is not counted.",
            ),
            hour_rows(plan),
            figures.day(steps, plan.best.cost, cost),
        )


def _spot(verified: Verified) -> Spot:
    found = verified.reached.interval
    if found is None:
        return Spot(verified.cost, _LATER)
    return Spot(verified.cost, found.estimate, found.low, found.high)


def _shown(latency_ms: float) -> float:
    return latency_ms if math.isfinite(latency_ms) else _LATER
