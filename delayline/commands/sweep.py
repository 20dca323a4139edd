"""``delayline sweep``: many settings, chosen beforehand, into one table and one figure."""

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

Over = Annotated[
    list[str] | None,
    typer.Option(
        "--over",
        metavar="PATH=VALUES",
        help="A knob and its values: [0ms, 2ms, 5ms], 0ms..10ms:11 (11 values) or 1..64:7:log (by"
        " factors). May be given again; without it, the ranges under `tune`.",
        show_default=False,
    ),
]
Grid = Annotated[
    int | None,
    typer.Option(
        "--grid",
        metavar="N",
        min=2,
        help="N values for each range that has no count.",
        show_default=False,
    ),
]
Random = Annotated[
    int | None,
    typer.Option(
        "--random",
        metavar="N",
        min=1,
        help="N settings that fill the space (Sobol), in place of every combination.",
        show_default=False,
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="What is drawn: p99, goodput, busy, or any column; by default the objective's latency.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Table to write; NAME.sweep.parquet if not given.",
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


def sweep(
    config_file: options.ConfigFile,
    over: Over = None,
    sets: options.Sets = None,
    grid: Grid = None,
    random: Random = None,
    replications: options.Replications = None,
    metric: Metric = None,
    seed: options.Seed = None,
    jobs: options.Jobs = -1,
    backend: options.Backend = None,
    address: options.Address = None,
    out: Out = None,
    figure: FigureFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Simulate every combination of knob values, or settings that fill their space, into one table.

    All settings meet the same arrivals and the same noise. The table is a Parquet file with a row for
    each setting and replication; the figure is a line over one knob, a heat map over two, panels beyond.
    A sweep that was stopped goes on where it was when the same command is given again, and one that is
    asked for more values or replications adds to its table.
    """
    given = options.as_overrides(sets, replications=replications, seed=seed)
    config = load_config(config_file, given)
    out = Path(f"{config.name}.sweep.parquet") if out is None else out
    if out.is_dir():
        raise CommandError(f"--out {out} is a folder; give the file to write")
    figure = out.with_suffix(".svg") if figure is None else figure
    options.check_figure(figure, out)
    from delayline.sweeping import design, run_sweep
    from delayline.swept import Told
    from reports.sweep_table import metric_column

    planned = design(config, over or (), count=grid, random=random)
    if metric is not None:
        metric_column(planned.columns, metric)  # or it would be refused only after the runs
    began_s = time.perf_counter()
    with backend_for(config, jobs, backend, address) as workers:
        swept = run_sweep(planned, out, backend=workers, quiet=quiet)
    told = Told(swept, metric)
    if not swept.missing:
        told.write_figure(figure)
    wall_s = time.perf_counter() - began_s
    if json:
        print_json({"table": str(out), "figure": str(figure), **told.to_json(), "wall_s": wall_s})
    else:
        console = results()
        told.print(console)
        written = f", wrote {out} and {figure}" if not swept.missing else ""
        console.print(f"simulated in {wall_s:.2f} s{written}", soft_wrap=True)
    if swept.missing:
        kept = swept.table.num_rows
        say(
            f"interrupted: {kept:,} of {kept + swept.missing:,} runs are kept in {out}.journal; the"
            " same command goes on from there"
        )
        raise typer.Exit(INTERRUPTED)
