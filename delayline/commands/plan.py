"""``delayline plan``: the cheapest replicas, devices and holds that keep an objective, by simulation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from delayline import options
from delayline.console import print_json, results, say
from delayline.errors import CommandError
from delayline.loading import load_config
from sim.backends.choose import backend_for

Rate = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="RATE",
        help="Mean rate to plan for, such as 2000/s; as configured if not given.",
        show_default=False,
    ),
]
Objective = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="PERCENTILE=LATENCY",
        help="What to keep, such as p99=50ms; as configured if not given.",
        show_default=False,
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        "--requests",
        min=1,
        help="Requests in each simulation; by default so many that 1,000 lie beyond the percentile.",
        show_default=False,
    ),
]
Confirm = Annotated[
    int, typer.Option("--confirm", min=2, help="Fresh replications that a plan is verified on.")
]
MostReplicas = Annotated[
    list[str] | None,
    typer.Option(
        "--max-replicas",
        metavar="[STAGE=]N",
        help="Most replicas of every stage, or of one. May be given again.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE", help="Configuration to write, planned.", show_default=False
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE", help="HTML page to write, with figures.", show_default=False
    ),
]


def plan(
    config_file: options.ConfigFile,
    sets: options.Sets = None,
    rate: Rate = None,
    objective: Objective = None,
    requests: Requests = None,
    confirm: Confirm = 8,
    max_replicas: MostReplicas = None,
    jobs: options.Jobs = -1,
    backend: options.Backend = None,
    address: options.Address = None,
    seed: options.Seed = None,
    out: Out = None,
    report: Report = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Plan capacity: the cheapest replicas of each stage, with their devices and holds.

    A plan is verified on fresh replications: the upper end of the 95% interval of the percentile lies
    within the objective. Told beside it: how much more traffic it bears, what the loss of one replica
    does, and the runners-up. Where the rate varies, the plan is for the busiest quarter of an hour, and
    a schedule says what each hour needs.
    """
    config = load_config(config_file, options.as_overrides(sets, seed=seed))
    for name, path in (("--out", out), ("--report", report)):
        if path is not None and path.is_dir():
            raise CommandError(f"{name} {path} is a folder; give the file to write")
    from delayline import planning
    from delayline.plan_tables import print_plan
    from delayline.planned import plan_json, write_plan

    if objective is not None:
        config = planning.with_objective(config, objective)
    rate_hz = None if rate is None else planning.parse_mean_rate(rate)
    most = planning.parse_most(max_replicas)
    began_s = time.perf_counter()
    with backend_for(config, jobs, backend, address) as workers:
        found = planning.plan(
            config,
            rate_hz=rate_hz,
            requests=requests,
            confirm=confirm,
            most=most,
            backend=workers,
            quiet=quiet,
        )
    wall_s = time.perf_counter() - began_s
    if out is not None:
        write_plan(out, config, found)
    if report is not None:
        from delayline.plan_report import write_plan_report

        write_plan_report(report, config, found)
    if json:
        print_json({**plan_json(found), "wall_s": wall_s})
        return
    console = results()
    print_plan(console, found)
    console.print(
        f"{len(found.trials)} allocations tried, {found.simulations} simulations,"
        f" planned in {wall_s:.1f} s",
        soft_wrap=True,
    )
    for path in (out, report):
        if path is not None and not quiet:
            say(f"wrote {path}")
