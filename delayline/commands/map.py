"""``delayline map``: over load and objective, which policy wins and where holding helps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from delayline import options
from delayline.console import print_json, results, say
from delayline.errors import INTERRUPTED, CommandError
from delayline.loading import load_config
from sim.backends.choose import backend_for

Loads = Annotated[
    str | None,
    typer.Option(
        "--loads",
        metavar="LIST",
        help="Shares of the capacity: 0.2,0.5,0.9 or 0.1..0.9:9.",
        show_default=False,
    ),
]
Objectives = Annotated[
    str | None,
    typer.Option(
        "--objectives",
        metavar="LIST",
        help="Latencies to stay within: 8ms,15ms or 5ms..40ms:6 (by factors); multiples of what a"
        " request takes alone, and the configured one, if not given.",
        show_default=False,
    ),
]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="NAME",
        help="A candidate: greedy, caps, pair, held, configured, or a policy for every stage, by its kind or"
        " as {kind: fixed, delay: 2ms}. May be given again; gains are over the first.",
        show_default=False,
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        "--requests",
        min=100,
        help="Requests in each simulation; 20,000 if not given.",
        show_default=False,
    ),
]
Replications = Annotated[
    int | None,
    typer.Option(
        "--replications",
        "-n",
        min=2,
        help="Fresh replications that candidates are scored on; 8 if not given.",
        show_default=False,
    ),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="A coarse grid, short simulations: a first look in seconds.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Table to write, .parquet or .csv; NAME.map.parquet if not given.",
        show_default=False,
    ),
]
FigureFile = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="Figure to write, .svg, .png or .pdf; beside the table if not given.",
        show_default=False,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="HTML page to write, with figure and tables.",
        show_default=False,
    ),
]


def regime_map(
    config_file: options.ConfigFile,
    sets: options.Sets = None,
    loads: Loads = None,
    objectives: Objectives = None,
    policy: Policies = None,
    requests: Requests = None,
    replications: Replications = None,
    quick: Quick = False,
    seed: options.Seed = None,
    jobs: options.Jobs = -1,
    backend: options.Backend = None,
    address: options.Address = None,
    out: Out = None,
    figure: FigureFile = None,
    report: Report = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Map the regimes of a pipeline: for each load and objective, which way of forming batches answers most
    requests in time, and whether holding helps, makes no difference, or hurts.

    greedy sends at once; caps has a cap on batches for each stage and no hold; pair has one delay and one cap
    for all; held has caps for each stage and one delay; configured is the configuration's own policies. What
    can be tuned is, in every cell, on three replications; all candidates are scored on fresh ones that they
    share. A map that was stopped goes on where it was.
    """
    config = load_config(config_file, options.as_overrides(sets, seed=seed))
    out = Path(f"{config.name}.map.parquet") if out is None else out
    for name, path in (("--out", out), ("--report", report)):
        if path is not None and path.is_dir():
            raise CommandError(f"{name} {path} is a folder; give the file to write")
    figure = out.with_suffix(".svg") if figure is None else figure
    options.check_figure(figure, out)
    from delayline import map_grid, mapping
    from delayline.mapped import Told
    from sim.simulate import engine_for

    asked = mapping.regime_map(
        config,
        loads=None if loads is None else map_grid.parse_loads(loads),
        objectives_ns=None if objectives is None else map_grid.parse_objectives(objectives),
        policies=policy or (),
        requests=requests,
        replications=replications,
        quick=quick,
    )
    driver, why = engine_for(asked.spot(asked.loads[0]).config)
    if driver != "compiled" and not quiet:
        say(f"note: on the reference driver, which takes long ({why}); try --quick first")
    began_s = time.perf_counter()
    with backend_for(config, jobs, backend, address) as workers:
        mapped = mapping.run_map(asked, out, backend=workers, quiet=quiet)
    told = Told(mapped)
    written = [out, figure, *([] if report is None else [report])]
    if not mapped.missing:
        told.write_figure(figure)
        if report is not None:
            told.write_page(report)
    wall_s = time.perf_counter() - began_s
    if json:
        files = {"table": str(out), "figure": str(figure), "report": report and str(report)}
        print_json({**files, **told.to_json(), "wall_s": wall_s})
    else:
        console = results()
        told.print(console)
        console.print(
            f"simulated in {wall_s:.1f} s"
            + ("" if mapped.missing else f", wrote {' and '.join(map(str, written))}"),
            soft_wrap=True,
        )
    if mapped.missing:
        say(
            f"interrupted: {len(told.found.loads)} of {len(asked.loads)} loads are kept in"
            f" {out}.journal; the same command goes on from there"
        )
        raise typer.Exit(INTERRUPTED)
