"""``delayline tune``: settings that meet the objective at the least cost, found by simulation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from delayline import options
from delayline.console import print_json, results
from delayline.errors import INTERRUPTED, CommandError
from delayline.loading import load_config

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
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Configuration to write; NAME.tuned.yaml if not given.",
        show_default=False,
    ),
]


def tune(
    config_file: options.ConfigFile,
    sets: options.Sets = None,
    trials: Trials = 60,
    requests: Requests = None,
    confirm: Confirm = 8,
    jobs: options.Jobs = 1,
    seed: options.Seed = None,
    out: Out = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Tune the knobs under `tune` for the objective, and write the configuration that is best.

    The objective comes first: latency at its percentile, requests without an answer being later than
    any. Among settings that meet it, the one that keeps replicas busy for the least time per 1,000
    answers is best. The best few are tried again on fresh replications before one is chosen. Ctrl-C
    keeps the best so far.
    """
    config = load_config(config_file, options.as_overrides(sets, seed=seed))
    out = Path(f"{config.name}.tuned.yaml") if out is None else out
    if out.is_dir():
        raise CommandError(f"--out {out} is a folder; give the file to write")
    from delayline import tuning
    from delayline.tuned import print_tuned, tuned_json, write_tuned

    began_s = time.perf_counter()
    tuned = tuning.tune(
        config, trials=trials, requests=requests, confirm=confirm, jobs=jobs, quiet=quiet
    )
    wall_s = time.perf_counter() - began_s
    write_tuned(out, tuned)
    if json:
        print_json({"config": str(out), **tuned_json(tuned), "wall_s": wall_s})
    else:
        console = results()
        print_tuned(console, tuned)
        console.print(f"tuned in {wall_s:.1f} s, wrote {out}", soft_wrap=True)
    if tuned.confirmation is None:
        raise typer.Exit(INTERRUPTED)
