"""``delayline compare``: recorded runs and configurations side by side; policies beside the optimum, or
plans of serving one pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from configs.units import parse_duration
from delayline import options, plan_options
from delayline.console import print_json, progress, results, say
from delayline.errors import CommandError
from delayline.gathering import gathered
from delayline.notes import optimum_notes
from delayline.tables import number, plain_table
from reports import numbers
from reports.compare import Comparison, Paired, Row
from reports.compare import compare as lay_side_by_side

if TYPE_CHECKING:
    from delayline.optimum import Beside
    from policies.smdp_model import Weights

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN_OR_CONFIG...",
        help="Folders of recorded runs, and configurations, which are simulated.",
        show_default=False,
    ),
]


Optimum = Annotated[
    bool,
    typer.Option(
        "--optimum", help="Measure policies of one stage against the optimum that theory knows."
    ),
]
LatencyWeight = Annotated[
    float | None,
    typer.Option(help="With --optimum: cost of a request's latency; 1 by default.", min=0),
]
BusyWeight = Annotated[
    float | None,
    typer.Option(help="With --optimum: cost of the replica's time for it; 0 by default.", min=0),
]
BatchCost = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="With --optimum: cost of a batch beside, as a latency worth as much; 0ms by default.",
    ),
]
ExcessWeight = Annotated[
    float | None,
    typer.Option(
        help="With --optimum: cost of the excess over the objective; 0 by default.", min=0
    ),
]

Clairvoyant = Annotated[
    bool,
    typer.Option(
        "--clairvoyant",
        help="With --optimum: what one replica could do that knew all arrivals. Takes a while.",
    ),
]


def compare(
    sources: Sources,
    sets: options.Sets = None,
    optimum: Optimum = False,
    latency_weight: LatencyWeight = None,
    busy_weight: BusyWeight = None,
    batch_cost: BatchCost = None,
    excess_weight: ExcessWeight = None,
    clairvoyant: Clairvoyant = False,
    plans: plan_options.Plans = False,
    plan: plan_options.PlanNames = None,
    loads: plan_options.Loads = None,
    requests: plan_options.Requests = None,
    candidates: plan_options.Candidates = None,
    real: plan_options.Real = False,
    seconds: plan_options.Seconds = None,
    report: plan_options.Report = None,
    replications: options.Replications = None,
    jobs: options.Jobs = -1,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Lay runs and configurations side by side; the first is what the others are measured against.

    Configurations are simulated once each, with --set applied to all of them. Where two runs had the
    same arrivals, they are compared request by request as well.

    With --optimum, configurations of one stage are simulated in several replications, beside the policy
    that is optimal for Poisson arrivals, one replica and the weights; for several replicas beside a
    lower bound.

    With --plans, one configuration is served in several ways (a monolith, no hold, one hold, tuned holds,
    holds that follow the load, trains, branches in sequence or in parallel, merges with a deadline), each at
    several loads, and it is said where each pays and where it does not.
    """
    of_optimum = {
        "--latency-weight": latency_weight,
        "--busy-weight": busy_weight,
        "--batch-cost": batch_cost,
        "--excess-weight": excess_weight,
        "--clairvoyant": clairvoyant or None,
    }
    of_plans = {
        "--plan": plan,
        "--loads": loads,
        "--requests": requests,
        "--candidates": candidates,
        "--real": real or None,
        "--seconds": seconds,
        "--report": report,
    }
    if optimum and plans:
        raise CommandError("--optimum and --plans are two comparisons; leave one of them out")
    if not optimum:
        _refuse(of_optimum, "--optimum")
    if not plans:
        _refuse(of_plans, "--plans")
    if not (optimum or plans):
        _refuse({"--replications": replications}, "--optimum or --plans")
    if plans:
        asked = plan_options.asked_of(
            sources, sets, plan, loads, requests, replications, candidates
        )
        run_s = plan_options.run_s_of(seconds, real=real)
        plan_options.compare_plans(asked, jobs, run_s, report, json=json, quiet=quiet)
        return
    if optimum:
        from delayline.optimum import beside_optimum

        weights = weights_of(latency_weight, busy_weight, batch_cost, excess_weight)
        with progress("simulating", len(sources) + 1, quiet=quiet) as advance:
            beside = beside_optimum(
                sources, sets or (), weights, replications, advance, clairvoyant=clairvoyant
            )
        _print_beside(beside, json=json, quiet=quiet)
        return
    with progress("reading", len(sources), quiet=quiet) as advance:
        runs = []
        for run in gathered(sources, sets or ()):
            runs.append(run)
            advance()
    found = lay_side_by_side(runs)
    if json:
        print_json(found.to_json())
    else:
        _print(results(), found)


def _refuse(given: Mapping[str, object], needs: str) -> None:
    """Raise CommandError for an option that is given without what it is for."""
    for option, value in given.items():
        if value is not None:
            raise CommandError(f"{option} is for {needs}; add that, or leave it out")


def weights_of(
    latency: float | None, busy: float | None, batch_cost: str | None, excess: float | None
) -> Weights:
    """The weights that options give. Raises CommandError."""
    from policies.smdp_model import Weights

    try:
        batch_s = parse_duration(batch_cost or "0ms") / 1e9
    except ValueError as error:
        raise CommandError(f"--batch-cost {error}") from None
    try:
        return Weights(
            latency=1.0 if latency is None else latency,
            busy=busy or 0.0,
            batch_s=batch_s,
            excess=excess or 0.0,
        )
    except ValueError as error:
        raise CommandError(f"{error}; see --latency-weight and the like") from None


def _print_beside(found: list[Beside], *, json: bool, quiet: bool) -> None:
    from delayline.optimum_tables import beside_json, print_beside

    if json:
        print_json({"stages": [beside_json(each) for each in found]})
    else:
        for at, each in enumerate(found):
            if at:
                results().print()
            print_beside(results(), each)
    if not quiet:
        for each in found:
            for note in optimum_notes(each.stage):
                say(f"note: {note}")


def _print(console: Console, found: Comparison) -> None:
    table = plain_table("", "unit", *(name.replace(" (", "\n(") for name in found.names))
    for row in found.rows:
        table.add_row(row.metric, row.unit, *(_cell(row, run) for run in range(len(found.names))))
    console.print(table)
    for pair in found.paired:
        if pair is not None:
            console.print()
            console.print(_paired(found, pair), soft_wrap=True)


def _cell(row: Row, run: int) -> str:
    text = number(row.values[run])
    ratio = row.ratio(run) if run else None
    return text if ratio is None or ratio == 1 else f"{text} ({numbers.change(ratio)})"


def _paired(found: Comparison, pair: Paired) -> str:
    mean = pair.mean_ms
    text = f"{found.names[pair.run]} against {found.names[0]}, request by request:"
    text += f" {mean.value:+.4g} ms on average"
    if mean.low is not None and mean.high is not None:
        text += f" (95% interval {mean.low:+.4g} to {mean.high:+.4g})"
    return (
        f"{text}, {numbers.percent(pair.faster)} of {pair.requests:,} answered sooner,"
        f" {numbers.percent(pair.slower)} later"
    )
