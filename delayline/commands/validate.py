"""``delayline validate``: whether the simulation predicts what the real thing does."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from configs.model import Config
from delayline import options
from delayline.console import print_json, progress, results, say, shares
from delayline.errors import INTERRUPTED
from delayline.loading import load_config
from delayline.tables import number, plain_table
from reports.validation import HEADER, SOURCES, Scenario, Validation

ProfileIn = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="Predict from this profile; by default one is taken first.",
        show_default=False,
    ),
]


def validate(
    config_file: options.ConfigFile,
    sets: options.Sets = None,
    profile: ProfileIn = None,
    out: options.Out = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run scenarios for real and hold them against their simulation.

    Each load of `validate.loads` with each hold of `validate.holds` is run twice for real. The first run
    is held against its prediction (simulated from a profile that was taken before), its replay (simulated
    with the run's own batch times) and its repeat (the second run). --out keeps the profile, the runs and
    the table; Ctrl-C keeps the scenarios that are finished.
    """
    config = load_config(config_file, options.as_overrides(sets))
    began_s = time.perf_counter()
    found, interrupted = _scenarios(config, profile, out, quiet)
    if not found.scenarios:
        raise KeyboardInterrupt
    if json:
        print_json({**found.to_json(), "wall_s": time.perf_counter() - began_s})
    else:
        _print(found)
        if out is not None:
            results().print(f"recorded in {out}")
    if interrupted:
        say(f"interrupted: {len(found.scenarios)} scenarios are finished")
        raise typer.Exit(INTERRUPTED)


def _scenarios(
    config: Config, profile: Path | None, out: Path | None, quiet: bool
) -> tuple[Validation, bool]:
    from delayline.real import (
        brought_up,
        settings,
        take_profile,
        throughput_bound,
        validate_one,
        with_profile,
    )
    from reports.validation import write

    scenarios: list[Scenario] = []
    interrupted = False
    with TemporaryDirectory() as scratch:
        path = profile or (out or Path(scratch)) / "profile.json"
        if not quiet:
            say("starting the workers")
        with brought_up(config) as executor:
            try:
                if profile is None:
                    with progress("profiling", 100, quiet=quiet) as advance:
                        take_profile(config, executor, path, progress=shares(advance))
                known = with_profile(config, path)
                asked = settings(known, throughput_bound(known))
                with progress("validating", len(asked), quiet=quiet) as advance:
                    for number_of, setting in enumerate(asked):
                        advance(0, setting.name)
                        each = validate_one(setting, executor)
                        if each.interrupted:
                            raise KeyboardInterrupt
                        scenarios.append(each.scenario)
                        if out is not None:
                            each.record(out / f"scenario-{number_of}")
                        advance()
            except KeyboardInterrupt:
                interrupted = True
    found = Validation(tuple(scenarios))
    if out is not None and scenarios:
        out.mkdir(parents=True, exist_ok=True)
        write(out / "validation.json", found)
    return found, interrupted


def _print(found: Validation) -> None:
    console = results()
    table = plain_table(*HEADER)
    rows = found.rows()
    next(rows)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()
    summary = plain_table("absolute error", "median %", "95th percentile %")
    for source in SOURCES:
        told = found.summary(source)
        summary.add_row(source, number(told.median_abs_pct), number(told.p95_abs_pct))
    console.print(summary)
