"""``delayline validate``: whether the simulation predicts what the real thing does."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from configs.model import Config
from delayline import options
from delayline.console import print_json, progress, results, say, shares
from delayline.errors import INTERRUPTED
from delayline.loading import load_config
from delayline.tables import number, plain_table
from reports.validation import HEADER, SOURCES, Scenario, Validation

if TYPE_CHECKING:
    from delayline.scenario_records import ScenarioRecorder

ProfileIn = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="Predict from this profile alone; by default one is taken before each scenario.",
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
    with the run's own batch times) and its repeat (the second run). A machine's speed drifts, so a short
    profile is taken right before each scenario; --profile FILE predicts from one instead. --out keeps the
    profiles, the runs and the figures; Ctrl-C keeps the scenarios that are finished.
    """
    config = load_config(config_file, options.as_overrides(sets))
    recorder = _checked(config, profile, out)
    began_s = time.perf_counter()
    scenarios: list[Scenario] = []
    interrupted = False
    try:
        with closing(_scenarios(config, profile, recorder, quiet)) as found_one_by_one:
            scenarios.extend(found_one_by_one)
    except KeyboardInterrupt:
        interrupted = True
    if scenarios:
        found = Validation(tuple(scenarios))
        if json:
            print_json({**found.to_json(), "wall_s": time.perf_counter() - began_s})
        else:
            _print(found, out)
    if interrupted:
        say(f"interrupted: {len(scenarios) or 'no'} scenarios are finished")
        raise typer.Exit(INTERRUPTED)


def _checked(config: Config, profile: Path | None, out: Path | None) -> ScenarioRecorder | None:
    """Whatever can be wrong with what is asked, told before workers start."""
    from delayline.profiling import with_profile
    from delayline.rates import open_arrivals
    from delayline.scenario_records import ScenarioRecorder
    from delayline.scenarios import settings

    open_arrivals(config)
    if profile is not None:
        settings(with_profile(config, profile))
    return None if out is None else ScenarioRecorder(out)


def _scenarios(
    config: Config, profile: Path | None, recorder: ScenarioRecorder | None, quiet: bool
) -> Generator[Scenario]:
    """Each scenario when it is finished, and kept. Raises KeyboardInterrupt."""
    from delayline.profiling import take_profile, take_short_profile, with_profile
    from delayline.real import brought_up
    from delayline.scenario_records import PROFILE, scenario_folder
    from delayline.scenarios import predicted_from, settings, validate_one

    with TemporaryDirectory() as scratch, brought_up(config, quiet=quiet) as executor:
        if recorder is not None:
            recorder.begin()
        folder = Path(scratch) if recorder is None else recorder.folder
        first = profile or folder / PROFILE
        if profile is None:
            with progress("profiling", 100, quiet=quiet) as advance:
                taken = take_profile(config, executor, first, told=shares(advance))
            if taken.interrupted:
                raise KeyboardInterrupt
        asked = settings(with_profile(config, first))
        with progress("validating", len(asked), quiet=quiet) as advance:
            for place, setting in enumerate(asked):
                advance(0, setting.name)
                if profile is None:
                    latest = scenario_folder(folder, place) / PROFILE
                    take_short_profile(config, executor, latest)
                    setting = predicted_from(setting, latest)
                found = validate_one(setting, executor)
                if recorder is not None:
                    recorder.add(found)
                yield found.scenario
                advance()


def _print(found: Validation, out: Path | None) -> None:
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
    if out is not None:
        console.print()
        console.print(f"recorded in {out}", soft_wrap=True)
