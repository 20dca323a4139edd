"""``delayline report``: recorded runs as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from delayline.console import progress, say
from delayline.gathering import recorded

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Folders of recorded runs.", show_default=False),
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")]


def report(runs: Runs, out: Out = Path("report.html")) -> None:
    """Write a report of recorded runs: one HTML file that opens without anything beside it."""
    with progress("writing the report", len(runs) + 1) as advance:
        read = []
        for run in recorded(runs):
            read.append(run)
            advance()
        from reports.html import write_report

        write_report(out, read)
        advance()
    say(f"wrote {out}")
