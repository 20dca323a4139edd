"""Options of ``compare --plans``, and what they ask for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from delayline.console import print_json, results
from delayline.errors import CommandError
from delayline.loading import load_config

if TYPE_CHECKING:
    from delayline.plan_runs import Asked

REAL_S = 5.0
"""Length of a real run of a plan."""

Plans = Annotated[
    bool,
    typer.Option(
        "--plans",
        help="Serve one configuration in several ways, at several loads, and compare them.",
    ),
]
PlanNames = Annotated[
    list[str] | None,
    typer.Option(
        "--plan",
        metavar="NAME",
        help="With --plans: only this plan, beside the cascade. May be given again.",
        show_default=False,
    ),
]
Loads = Annotated[
    str | None,
    typer.Option(
        metavar="LOADS",
        help="With --plans: shares of the capacity, such as 0.2,0.6,0.9, which is the default.",
        show_default=False,
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        "--requests",
        min=100,
        help="With --plans: requests of a simulation; 20,000 if not given.",
        show_default=False,
    ),
]
Candidates = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="With --plans: how many candidates there are in all, for the monolith to rank; as in the"
        " quality table, if there is one and this is not given.",
        show_default=False,
    ),
]
Real = Annotated[
    bool, typer.Option("--real", help="With --plans: run them on their models as well.")
]
Seconds = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=3600,
        help="With --plans --real: length of each real run; 5 if not given.",
        show_default=False,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="With --plans: HTML page to write, with figures and tables.",
        show_default=False,
    ),
]


def asked_of(
    sources: Sequence[Path],
    sets: list[str] | None,
    plans: list[str] | None,
    loads: str | None,
    requests: int | None,
    replications: int | None,
    candidates: int | None,
) -> Asked:
    """What --plans is asked for. Raises CommandError, ConfigError."""
    from delayline import map_grid
    from delayline.plan_quality import worth_of
    from delayline.plan_runs import LOADS, REPLICATIONS, REQUESTS, plans_asked

    if len(sources) != 1 or sources[0].is_dir():
        raise CommandError("--plans are made of one configuration; give one, and no recorded run")
    config = load_config(sources[0], sets or ())
    worth = worth_of(config)
    if candidates is None and worth is not None:
        candidates = worth.candidates
    return plans_asked(
        config,
        plans=plans or (),
        loads=LOADS if loads is None else map_grid.parse_loads(loads),
        requests=requests or REQUESTS,
        replications=replications or REPLICATIONS,
        candidates=candidates,
        worth=worth,
    )


def compare_plans(
    asked: Asked, jobs: int, real_s: float | None, report: Path | None, *, json: bool, quiet: bool
) -> None:
    """Compare, print, and write the page. Raises CommandError for a page that cannot be written."""
    from delayline import plan_runs
    from delayline.plans_told import Told

    if report is not None and report.is_dir():
        raise CommandError(f"--report {report} is a folder; give the file to write")

    began_s = time.perf_counter()
    told = Told(plan_runs.compare_plans(asked, jobs=jobs, real_s=real_s, quiet=quiet))
    if report is not None:
        told.write_page(report)
    wall_s = time.perf_counter() - began_s
    if json:
        print_json({**told.to_json(), "report": report and str(report), "wall_s": wall_s})
    else:
        told.print(results())
        wrote = "" if report is None else f", wrote {report}"
        results().print(f"\nsimulated in {wall_s:.1f} s{wrote}", soft_wrap=True)


def run_s_of(seconds: float | None, *, real: bool) -> float | None:
    """Length of real runs; None where there are to be none. Raises CommandError."""
    if seconds is not None and not real:
        raise CommandError("--seconds is for --real; add that, or leave it out")
    return (REAL_S if seconds is None else seconds) if real else None
