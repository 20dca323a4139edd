"""A plan as tables that a person reads: on the console, and on the plan's page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from rich.console import Console
from rich.table import Table

from configs.plain import plain
from configs.units import format_duration
from delayline.planned import asked, cost_number, cost_text, replicas, told
from delayline.tables import number, plain_table
from policies.contract import Policy
from reports.numbers import NONE, percent
from reports.plan_page import Rows
from sim.planning.bounds import work
from sim.planning.demand import HOUR_NS
from sim.planning.failures import Loss
from sim.planning.plan import Plan
from sim.planning.problem import Allocation, put_in
from sim.planning.schedule import Hour


def print_plan(console: Console, plan: Plan) -> None:
    """The plan, how sure it is, what it bears and loses, the runners-up and the schedule."""
    console.print(f"{plan.planned.config.name}: {asked(plan)}", soft_wrap=True)
    console.print()
    console.print(_table(stage_rows(plan)))
    console.print()
    console.print(f"cost: {cost_text(plan, plan.best.cost)}")
    for line in told(plan):
        console.print(line, soft_wrap=True)
    if plan.runners_up:
        console.print()
        console.print(_table(runner_up_rows(plan)))
    if plan.schedule is not None:
        console.print()
        console.print(_table(hour_rows(plan)))
        console.print()
        console.print(saved(plan), soft_wrap=True)
    console.print()


def _table(rows: Rows) -> Table:
    table = plain_table(*rows.heads)
    for row in rows.rows:
        table.add_row(*row)
    return table


def stage_rows(plan: Plan) -> Rows:
    """Stage by stage: what it gets, how busy that is, and what becomes of it when one is lost."""
    pools = list(zip(plan.planned.pools, plan.best.candidate.allocation, plan.losses, strict=True))
    config = put_in(plan.planned.config, plan.planned.pools, plan.best.candidate)
    as_planned = replace(plan.planned, config=config)
    rows = []
    for stage, setting in zip(
        plan.planned.config.stages, plan.best.candidate.settings, strict=True
    ):
        pool, choice, loss = next(each for each in pools if stage.name in each[0].stages)
        row = (
            stage.name,
            str(choice.count),
            choice.device or NONE,
            policy_text(setting.policy),
            str(setting.max_batch),
            percent(work(as_planned, pool, choice.device) / choice.count),
            loss_text(loss),
        )
        rows.append(row)
    lost = f"one lost:\n{_percentile(plan)}, ms"
    heads = ("stage", "replicas", "device", "policy", "max\nbatch", "load", lost)
    return Rows(heads, tuple(rows))


def _percentile(plan: Plan) -> str:
    return f"p{plan.planned.objective.percentile:g}"


def policy_text(policy: Policy) -> str:
    """A policy in a few words: its kind, and its knobs that are not at their defaults."""
    found = dict(plain(policy))
    kind = found.pop("kind")
    if kind == "fixed" and list(found) == ["delay"]:
        return f"fixed {found['delay']}"
    return f"{kind} {', '.join(f'{key} {value}' for key, value in found.items())}".strip()


def loss_text(loss: Loss) -> str:
    """The latency after a loss, or what there is instead."""
    if loss.reached is None:
        return "none left"
    found = loss.reached.interval
    return "overloaded" if found is None else number(found.estimate)


def runner_up_rows(plan: Plan) -> Rows:
    """The next plans, by what they have instead."""
    rows = []
    for each in plan.runners_up:
        found = each.reached.interval
        row = (
            difference(plan, each.candidate.allocation),
            cost_number(plan, each.cost),
            NONE if found is None else f"{number(found.estimate)} ± {found.half_width:.2g}",
            "yes" if each.reached.within(plan.planned.objective_ms) else "not surely",
        )
        rows.append(row)
    unit = "cost/h" if plan.planned.priced else "replicas"
    return Rows(("runner-up", unit, f"{_percentile(plan)}, ms", "met"), tuple(rows))


def difference(plan: Plan, allocation: Allocation) -> str:
    """An allocation in words: where it differs from the chosen one."""
    parts = []
    chosen = plan.best.candidate.allocation
    for pool, choice, before in zip(plan.planned.pools, allocation, chosen, strict=True):
        if choice != before:
            device = f" {choice.device}" if choice.device != before.device else ""
            parts.append(f"{pool.name} {choice.count}{device}")
    return ", ".join(parts) or "other holds"


def hour_rows(plan: Plan) -> Rows:
    """The schedule, hours in a row that have the same replicas in one row."""
    stages = [stage.name for stage in plan.planned.config.stages]
    rows = []
    for hours in _alike(plan):
        counts = replicas(plan, hours[0].allocation)
        first, last = hours[0].number, hours[-1].number
        ends = [i.high for hour in hours if (i := hour.reached.interval) is not None]
        row = (
            str(first) if first == last else f"{first} to {last}",
            f"{max(hour.rate_hz for hour in hours):,.0f}",
            *(str(counts[name]) for name in stages),
            cost_number(plan, hours[0].cost),
            f"≤ {number(max(ends))}" if ends else NONE,
        )
        rows.append(row)
    unit = "cost/h" if plan.planned.priced else "replicas"
    return Rows(
        ("hour", "requests/s\nup to", *stages, unit, f"{_percentile(plan)}, ms"), tuple(rows)
    )


def _alike(plan: Plan) -> Iterator[list[Hour]]:
    """Hours in a row that have the same replicas."""
    hours = () if plan.schedule is None else plan.schedule.hours
    for _, group in groupby(hours, key=lambda hour: hour.allocation):
        yield list(group)


def saved(plan: Plan) -> str:
    """What the schedule costs, beside the plan for the busiest time around the clock."""
    if plan.schedule is None:
        return ""
    unit = "/h" if plan.planned.priced else " replicas"
    hour_ns = plan.schedule.hour_ns
    length = "" if hour_ns == HOUR_NS else f" (of {format_duration(hour_ns)})"
    return (
        f"by hour{length}: {cost_number(plan, plan.schedule.cost)}{unit} on average,"
        f" {percent(plan.schedule.saved)} less than {cost_text(plan, plan.best.cost)} all the time"
    )
