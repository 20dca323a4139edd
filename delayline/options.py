"""Options that several commands take, each worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from delayline.errors import CommandError
from sim.backends.choose import BackendName
from sim.engines import Engine as EngineName

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="YAML file of the pipeline.", show_default=False)
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Set a knob, such as stages.rank.policy.delay=2ms. May be given again.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no notes.")]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=-1, help="Workers to run on; -1 for all cores.")
]
Backend = Annotated[
    BackendName | None,
    typer.Option(
        "--backend",
        help="Where workers run; threads if the compiled driver runs, else processes.",
        show_default=False,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Ray cluster to run on: auto, HOST:PORT or ray://HOST:PORT.",
        show_default=False,
    ),
]
Engine = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        help="Driver of the simulation: compiled where every part of the pipeline compiles, simpy for"
        " all that there is, auto for the first that can.",
    ),
]
Replications = Annotated[
    int | None,
    typer.Option(
        "--replications", "-n", min=1, help="Independent repetitions.", show_default=False
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="Seed of all random numbers.", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder for the records.", show_default=False),
]


def as_overrides(sets: list[str] | None, **given: int | None) -> list[str]:
    """``--set`` and options that are short for it, as overrides of a configuration."""
    named = [f"{path}={value}" for path, value in given.items() if value is not None]
    return [*(sets or []), *named]


def check_figure(figure: Path, out: Path) -> None:
    """Raise CommandError for a figure that cannot be written beside ``out``."""
    if figure.is_dir():
        raise CommandError(f"--figure {figure} is a folder; give the file to write")
    kinds = (".svg", ".png", ".pdf")
    if figure.suffix.lower() not in kinds:
        raise CommandError(f"--figure {figure} must end in {', '.join(kinds)}")
    if out.absolute() == figure.absolute():
        raise CommandError(f"--out and --figure are one file, {out}; give two")
