"""``delayline tune``: settings that meet the objective at the least cost, found by simulation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from delayline import options
from delayline.console import print_json, results, say
from delayline.errors import INTERRUPTED, CommandError
from delayline.loading import load_config
from sim.backends.choose import backend_for

Trials = Annotated[int, typer.Option("--trials", "-t", min=1, help="Settings to try.")]
Requests = Annotated[
    int | None,
    typer.Option(
        "--requests",
        min=1,
        help="Requests in each simulation; as configured if not given.",
        show_default=False,
    ),
]
Confirm = Annotated[
    int, typer.Option("--confirm", min=2, help="Fresh replications for the best few.")
]
Sampler = Annotated[
    Literal["tpe", "gp", "cmaes", "nsga2", "random"] | None,
    typer.Option(
        "--sampler",
        help="Who proposes settings; tpe if not given, nsga2 for several goals.",
        show_default=False,
    ),
]
Goals = Annotated[
    str | None,
    typer.Option(
        "--goals",
        metavar="LIST",
        help="latency,cost for the trade-off between them, with quality added where a quality table tells"
        " it, latency for that alone; the cost within the objective if not given.",
        show_default=False,
    ),
]
Cost = Annotated[
    Literal["busy", "paid"] | None,
    typer.Option(
        "--cost",
        help="Replica time that is used, or replicas (or their price) that are there; paid if a knob"
        " that is tuned changes that.",
        show_default=False,
    ),
]
Batch = Annotated[
    int,
    typer.Option("--batch", min=1, help="Settings asked for at once; the most that run at once."),
]
Halving = Annotated[
    bool | None,
    typer.Option(
        "--halving/--no-halving",
        help="Begin with short runs, or always run to the end; if not given, short runs where they can"
        " tell the percentile.",
        show_default=False,
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Where trials are kept, to go on from: journal:///FILE, sqlite:///FILE, postgresql://...",
        show_default=False,
    ),
]
Study = Annotated[
    str | None,
    typer.Option(
        "--study",
        metavar="NAME",
        help="What they are called there; the configuration's name if not given.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Configuration to write; NAME.tuned.yaml if not given.",
        show_default=False,
    ),
]
FigureFile = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="Figure of latency against cost, .svg, .png or .pdf; with several goals beside the"
        " configuration if not given.",
        show_default=False,
    ),
]


def tune(
    config_file: options.ConfigFile,
    sets: options.Sets = None,
    trials: Trials = 60,
    requests: Requests = None,
    confirm: Confirm = 8,
    sampler: Sampler = None,
    goals: Goals = None,
    cost: Cost = None,
    batch: Batch = 9,
    halving: Halving = None,
    storage: Storage = None,
    study: Study = None,
    jobs: options.Jobs = -1,
    backend: options.Backend = None,
    address: options.Address = None,
    seed: options.Seed = None,
    out: Out = None,
    figure: FigureFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Tune the knobs under `tune` for the objective, and write the configuration that is best.

    The objective comes first: latency at its percentile, requests without an answer being later than
    any. Among settings that meet it, the one of the least cost is best. The best few are tried again on
    fresh replications before one is chosen. The same command gives the same result on any number of
    workers. Ctrl-C keeps the best so far; with --storage, the same command goes on from there.
    """
    config = load_config(config_file, options.as_overrides(sets, seed=seed))
    out = Path(f"{config.name}.tuned.yaml") if out is None else out
    if out.is_dir():
        raise CommandError(f"--out {out} is a folder; give the file to write")
    if study is not None and storage is None:
        raise CommandError(f"--study {study} is kept nowhere without --storage")
    asked = tuple(each.strip() for each in goals.split(",")) if goals is not None else ()
    if figure is None and len(asked) > 1:
        figure = out.with_suffix(".svg")
    if figure is not None:
        options.check_figure(figure, out)
    from delayline import tuning
    from delayline.tuned import tuned_json, write_tuned
    from delayline.tuned_tables import print_tuned, write_figure
    from delayline.width_notes import tuned_width_notes

    began_s = time.perf_counter()
    with backend_for(config, jobs, backend, address) as workers:
        tuned = tuning.tune(
            config,
            trials=trials,
            requests=requests,
            confirm=confirm,
            sampler=sampler,
            goals=asked,
            cost=cost,
            batch=batch,
            halving=halving,
            storage=storage,
            study=study,
            backend=workers,
            quiet=quiet,
        )
    wall_s = time.perf_counter() - began_s
    write_tuned(out, tuned)
    if figure is not None:
        write_figure(figure, tuned)
    if json:
        drawn = None if figure is None else str(figure)
        print_json({"config": str(out), "figure": drawn, **tuned_json(tuned), "wall_s": wall_s})
    else:
        console = results()
        print_tuned(console, tuned)
        drawn = "" if figure is None else f" and {figure}"
        console.print(f"tuned in {wall_s:.1f} s, wrote {out}{drawn}", soft_wrap=True)
    for note in tuned_width_notes(config):
        say(f"note: {note}")
    if tuned.confirmation is None:
        raise typer.Exit(INTERRUPTED)
