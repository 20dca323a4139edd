"""``delayline compare``: recorded runs and configurations side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from delayline import options
from delayline.console import print_json, progress, results
from delayline.gathering import gathered
from delayline.tables import number, plain_table
from reports import numbers
from reports.compare import Comparison, Paired, Row
from reports.compare import compare as lay_side_by_side

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN_OR_CONFIG...",
        help="Folders of recorded runs, and configurations, which are simulated.",
        show_default=False,
    ),
]


def compare(
    sources: Sources,
    sets: options.Sets = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Lay runs and configurations side by side; the first is what the others are measured against.

    Configurations are simulated once each, with --set applied to all of them. Where two runs had the
    same arrivals, they are compared request by request as well.
    """
    with progress("reading", len(sources), quiet=quiet) as advance:
        runs = []
        for run in gathered(sources, sets or ()):
            runs.append(run)
            advance()
    found = lay_side_by_side(runs)
    if json:
        print_json(found.to_json())
    else:
        _print(results(), found)


def _print(console: Console, found: Comparison) -> None:
    table = plain_table("", "unit", *(name.replace(" (", "\n(") for name in found.names))
    for row in found.rows:
        table.add_row(row.metric, row.unit, *(_cell(row, run) for run in range(len(found.names))))
    console.print(table)
    for pair in found.paired:
        if pair is not None:
            console.print()
            console.print(_paired(found, pair), soft_wrap=True)


def _cell(row: Row, run: int) -> str:
    text = number(row.values[run])
    ratio = row.ratio(run) if run else None
    return text if ratio is None or ratio == 1 else f"{text} ({numbers.change(ratio)})"


def _paired(found: Comparison, pair: Paired) -> str:
    mean = pair.mean_ms
    text = f"{found.names[pair.run]} against {found.names[0]}, request by request:"
    text += f" {mean.value:+.4g} ms on average"
    if mean.low is not None and mean.high is not None:
        text += f" (95% interval {mean.low:+.4g} to {mean.high:+.4g})"
    return (
        f"{text}, {numbers.percent(pair.faster)} of {pair.requests:,} answered sooner,"
        f" {numbers.percent(pair.slower)} later"
    )
