"""``delayline profile``: measure the stages' service times at work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from delayline import options
from delayline.console import print_json, progress, results, say, shares
from delayline.errors import INTERRUPTED
from delayline.loading import load_config
from delayline.tables import number, plain_table

ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Where to write it; by default where the stages' service looks for it.",
        show_default=False,
    ),
]
Seconds = Annotated[
    float, typer.Option("--seconds", min=0.1, max=3600, help="Length of each of the runs.")
]


def profile(
    config_file: options.ConfigFile,
    sets: options.Sets = None,
    out: ProfileFile = None,
    seconds: Seconds = 3.0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure service times through the dispatcher, at several loads and holds, into a profile.

    A stage with service {kind: profile, path: FILE} is then simulated with what was measured.
    Ctrl-C keeps the runs that are finished.
    """
    from delayline.real import brought_up, profile_path, take_profile
    from executors.profiler import ProfilePlan

    config = load_config(config_file, options.as_overrides(sets))
    path = out or profile_path(config)
    if not quiet:
        say("starting the workers")
    with brought_up(config) as executor, progress("profiling", 100, quiet=quiet) as advance:
        plan = ProfilePlan(run_s=seconds)
        profiled = take_profile(config, executor, path, plan, shares(advance))
    stages = {
        name: {
            "batches": sum(len(run.service_ns) for run in runs),
            "mean_ms": sum(int(run.service_ns.sum()) for run in runs)
            / max(sum(len(run.service_ns) for run in runs), 1)
            / 1e6,
        }
        for name, runs in profiled.profile.stages.items()
    }
    if json:
        print_json({"profile": str(path), "capacity_rps": profiled.capacity_hz, "stages": stages})
    else:
        console = results()
        console.print(f"{config.name}: {number(profiled.capacity_hz)} requests/s when saturated")
        table = plain_table("stage", "batches", "mean ms")
        for name, found in stages.items():
            table.add_row(name, number(found["batches"]), number(found["mean_ms"]))
        console.print(table)
        console.print(f"profile written to {path}")
    if profiled.interrupted:
        say("interrupted: the profile holds the runs that were finished")
        raise typer.Exit(INTERRUPTED)
