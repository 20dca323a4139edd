"""``delayline report``: recorded runs, or a validation, as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from delayline.console import progress, say
from delayline.errors import CommandError
from delayline.gathering import recorded
from delayline.scenario_records import FIGURES
from reports.validation import Validation, read

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Folders of recorded runs; one of them may be that of a validation.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")]


def report(runs: Runs, out: Out = Path("report.html")) -> None:
    """Write a report of recorded runs: one HTML file that opens without anything beside it.

    The folder of `validate --out` adds its scenarios, simulated against real.
    """
    if out.is_dir():
        raise CommandError(f"--out {out} is a folder; give the file to write")
    validations = [folder for folder in runs if (folder / FIGURES).is_file()]
    with progress("writing the report", len(runs) + 1) as advance:
        validation = _only(validations)
        read_runs = []
        for run in recorded([folder for folder in runs if folder not in validations]):
            read_runs.append(run)
            advance()
        from reports.html import write_report

        write_report(out, read_runs, validation)
        advance()
    say(f"wrote {out}")


def _only(folders: Sequence[Path]) -> Validation | None:
    if len(folders) > 1:
        named = " and ".join(map(str, folders))
        raise CommandError(f"{named} are all of validations; a report holds one")
    return read(folders[0] / FIGURES) if folders else None
