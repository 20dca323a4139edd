"""``delayline profile``: how long batches take on this machine, measured at work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from delayline import options
from delayline.console import print_json, progress, results, say, shares
from delayline.errors import INTERRUPTED, CommandError
from delayline.loading import load_config
from delayline.tables import number, plain_table
from reports.numbers import NONE

if TYPE_CHECKING:
    from configs.measured_width import MeasuredWidth
    from configs.profile import ProfileRun

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
    from delayline.profiling import probes_of, profile_path, take_profile
    from delayline.rates import open_arrivals
    from delayline.real import brought_up
    from executors.profiler import ProfilePlan

    config = load_config(config_file, options.as_overrides(sets))
    path = out or profile_path(config)
    if path.is_dir():
        raise CommandError(f"{path} is a folder; give the file to write with --out FILE")
    open_arrivals(config)
    plan = ProfilePlan(run_s=seconds)
    probes = probes_of(config)
    with (
        brought_up(config, quiet=quiet, probes=probes) as executor,
        progress("profiling", 100, quiet=quiet) as advance,
    ):
        profiled = take_profile(config, executor, path, plan, shares(advance), probes)
    widths = profiled.profile.widths
    stages = {
        name: _in_short(runs) | _width_in_short(widths.get(name), bool(widths))
        for name, runs in profiled.profile.stages.items()
    }
    if json:
        print_json({"profile": str(path), "capacity_rps": profiled.capacity_hz, "stages": stages})
    else:
        console = results()
        console.print(f"{config.name}: {number(profiled.capacity_hz)} requests/s when saturated")
        console.print()
        table = plain_table("stage", "batches", "mean ms", *(WIDTH_COLUMNS if widths else ()))
        for name, found in stages.items():
            table.add_row(
                name, *(NONE if value is None else number(value) for value in found.values())
            )
        console.print(table)
        console.print()
        console.print(f"profile written to {path}", soft_wrap=True)
    if profiled.interrupted:
        say("interrupted: the profile holds the runs that were finished")
        raise typer.Exit(INTERRUPTED)


WIDTH_COLUMNS = ("candidates", "us each")
"""That came in with a request, and what each of them took."""


def _width_in_short(width: MeasuredWidth | None, any_known: bool) -> dict[str, float | None]:
    if not any_known:
        return {}
    each_ns = width.per_candidate_ns if width else None
    return {
        "candidates": width.candidates if width else None,
        "per_candidate_us": None if each_ns is None else each_ns / 1e3,
    }


def _in_short(runs: Sequence[ProfileRun]) -> dict[str, float | None]:
    """How many batches of a stage were measured, and their mean time."""
    batches = sum(len(run.service_ns) for run in runs)
    total_ns = sum(int(run.service_ns.sum()) for run in runs)
    return {"batches": batches, "mean_ms": total_ns / batches / 1e6 if batches else None}
