"""A plan as a configuration to run and as an object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from configs.atomic import write_text
from configs.dump import SCHEMA_LINE, dump_config
from configs.model import Config
from configs.plain import plain
from delayline.tables import number
from sim.planning.failures import Loss
from sim.planning.plan import Plan
from sim.planning.problem import Allocation, put_in
from sim.planning.schedule import Schedule
from sim.planning.verify import Reached, Verified

_PLACES = 9
"""Decimals of a cost: sums of prices carry the rounding of floats beyond."""


def planned_config(config: Config, plan: Plan) -> Config:
    """``config``, which was planned for, at the plan's rate and with the plan put in."""
    arrivals = config.workload.arrivals
    if plan.demand.mean_hz != arrivals.mean_rate_hz():
        arrivals = arrivals.scaled(plan.demand.mean_hz / arrivals.mean_rate_hz())
    found = put_in(config, plan.planned.pools, plan.best.candidate)
    return replace(found, workload=replace(config.workload, arrivals=arrivals))


def write_plan(path: Path, config: Config, plan: Plan) -> None:
    """Write the configuration with the plan in it; ``simulate``, ``run`` and ``tune`` take it as it is."""
    folder = path.absolute().parent
    schema = SCHEMA_LINE.format("schema.json")
    text = dump_config(planned_config(config, plan), folder).removeprefix(schema)
    first = schema if (folder / "schema.json").exists() else ""
    lines = [
        f"Planned for {asked(plan)}.",
        f"Cost: {cost_text(plan, plan.best.cost)}.",
        *told(plan),
    ]
    comment = "".join(f"# {line}\n" for line in lines)
    write_text(path, first + comment + text)


def asked(plan: Plan) -> str:
    """What was asked, in words."""
    text = f"{plan.planned.goal} at {plan.demand.mean_hz:,.0f} requests/s"
    if plan.demand.because:
        text += f", planned for {plan.planned.rate_hz:,.0f}/s: {plan.demand.because}"
    return text


def told(plan: Plan) -> list[str]:
    """What came of it: how sure it is, what it bears, whether anything is cheaper."""
    percentile = f"p{plan.planned.objective.percentile:g}"
    found = plan.best.reached.interval
    sure = (
        ""
        if found is None
        else (
            f"{number(found.estimate)} ms, {100 * found.level:g}% interval {number(found.low)} to"
            f" {number(found.high)}, on {plan.replications} fresh replications of {plan.requests:,} requests"
        )
    )
    lines = [f"{percentile} {sure}", borne(plan)]
    if not plan.proven:
        bound = cost_text(plan, plan.least_cost)
        lines.append(f"not every cheaper plan was ruled out; none costs less than {bound}")
    return lines


def borne(plan: Plan) -> str:
    """The headroom in words, in the rate that was asked for."""
    share = plan.headroom.max_rate_hz / plan.planned.rate_hz
    text = f"bears up to {share * plan.demand.mean_hz:,.0f} requests/s"
    if plan.demand.because:
        text += f" on average ({plan.headroom.max_rate_hz:,.0f}/s at the peak)"
    return f"{text}, {share - 1:+.0%}, before the objective breaks"


def cost_text(plan: Plan, cost: float) -> str:
    """Money an hour, or replicas (of shared devices, slots) where nothing has a price."""
    if plan.planned.priced:
        return f"{cost_number(plan, cost)}/h"
    kinds = {pool.shared: "slot" if pool.shared else "replica" for pool in plan.planned.pools}
    unit = " and ".join(f"{kinds[shared]}{'' if cost == 1 else 's'}" for shared in sorted(kinds))
    return f"{cost_number(plan, cost)} {unit}"


def cost_number(plan: Plan, cost: float) -> str:
    """The same without its unit."""
    return f"{cost:,.4g}" if plan.planned.priced or cost != int(cost) else f"{cost:,.0f}"


def plan_json(plan: Plan) -> dict[str, object]:
    """The object of ``plan --json``, without ``wall_s``."""
    objective = plan.planned.objective
    share = plan.headroom.max_rate_hz / plan.planned.rate_hz
    reached = f"p{objective.percentile:g}_ms"
    found = {
        "objective": {
            "latency_ms": plan.planned.objective_ms,
            "percentile": objective.percentile,
        },
        "rate_rps": plan.demand.mean_hz,
        "planned_rps": plan.planned.rate_hz,
        "priced": plan.planned.priced,
        "plan": _plan(plan, plan.best),
        reached: _reached(plan.best.reached),
        "replications": plan.replications,
        "requests": plan.requests,
        "max_rate_rps": share * plan.demand.mean_hz,
        "n_minus_1": {
            stage: {"replicas": loss.left, reached: _loss_ms(loss), "met": _met(plan, loss)}
            for loss in plan.losses
            for stage in loss.stages
        },
        "runners_up": [
            {
                **_plan(plan, each),
                reached: _reached(each.reached),
                "met": each.reached.within(plan.planned.objective_ms),
            }
            for each in plan.runners_up
        ],
        "rates": [
            {"rate_rps": each.rate_hz, reached: _reached(each)} for each in plan.headroom.curve
        ],
    }
    if plan.schedule is not None:
        found["schedule"] = _schedule(plan, plan.schedule, reached)
    return {
        **found,
        "proven": plan.proven,
        "least_cost_per_hour": round(plan.least_cost, _PLACES),
        "evaluated": len(plan.trials),
        "simulations": plan.simulations,
    }


def _plan(plan: Plan, verified: Verified) -> dict[str, object]:
    config = put_in(plan.planned.config, plan.planned.pools, verified.candidate)
    stages: dict[str, object] = {
        stage.name: {
            "replicas": stage.replicas,
            "device": stage.device[0] if stage.device else None,
            "policy": plain(stage.policy),
            "max_batch": stage.max_batch,
        }
        for stage in config.stages
    }
    return {"stages": stages, "cost_per_hour": round(verified.cost, _PLACES)}


def _reached(reached: Reached) -> Mapping[str, float | None]:
    found = reached.interval
    if found is None:
        return dict.fromkeys(("estimate", "low", "high"))
    return {"estimate": found.estimate, "low": found.low, "high": found.high}


def _loss_ms(loss: Loss) -> float | None:
    found = None if loss.reached is None else loss.reached.interval
    return None if found is None else found.estimate


def _met(plan: Plan, loss: Loss) -> bool:
    return loss.reached is not None and loss.reached.within(plan.planned.objective_ms)


def _schedule(plan: Plan, found: Schedule, reached: str) -> dict[str, object]:
    return {
        "hour_s": found.hour_ns / 1e9,
        "cost_per_hour": round(found.cost, _PLACES),
        "static_cost_per_hour": round(found.static_cost, _PLACES),
        "hours": [
            {
                "hour": hour.number,
                "rate_rps": hour.rate_hz,
                "replicas": replicas(plan, hour.allocation),
                "cost_per_hour": round(hour.cost, _PLACES),
                reached: _reached(hour.reached),
            }
            for hour in found.hours
        ],
    }


def replicas(plan: Plan, allocation: Allocation) -> dict[str, int]:
    """How many each stage has; a stage on a shared device as many as that has slots."""
    return {
        stage: choice.count
        for pool, choice in zip(plan.planned.pools, allocation, strict=True)
        for stage in pool.stages
    }
