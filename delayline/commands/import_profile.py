"""``delayline import-profile``: service times out of a table that others have published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from delayline import options
from delayline.console import print_json, results, say
from delayline.errors import CommandError
from delayline.tables import number, plain_table
from reports.numbers import count

if TYPE_CHECKING:
    from configs.published import BatchTimes, Published, PublishedGroup

_COLUMN = "COLUMN"

Table = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Table: csv, csv.gz or parquet.", show_default=False),
]
GroupBy = Annotated[
    str,
    typer.Option(
        metavar="COLUMN,...",
        help="Columns that tell the curves apart; columns of text are added where these do not.",
        show_default=False,
    ),
]
Batch = Annotated[str, typer.Option(metavar=_COLUMN, help="Column of the batch size.")]
Latency = Annotated[
    str, typer.Option(metavar=_COLUMN, help="Column of the mean time.", show_default=False)
]
P50 = Annotated[
    str | None, typer.Option(metavar=_COLUMN, help="Column of the median.", show_default=False)
]
P90 = Annotated[
    str | None,
    typer.Option(metavar=_COLUMN, help="Column of the 90th percentile.", show_default=False),
]
P95 = Annotated[
    str | None,
    typer.Option(metavar=_COLUMN, help="Column of the 95th percentile.", show_default=False),
]
P99 = Annotated[
    str | None,
    typer.Option(metavar=_COLUMN, help="Column of the 99th percentile.", show_default=False),
]
Unit = Annotated[
    Literal["ns", "us", "ms", "s"] | None,
    typer.Option(help="Unit of times whose column does not end in it.", show_default=False),
]
PerWhat = Annotated[
    Literal["request", "item"],
    typer.Option(
        help="What batch sizes count: requests, or items (samples) of which each has many."
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=VALUE,...",
        help="Keep the rows that have or hold these values, such as gpu=A30,precision=fp16.",
        show_default=False,
    ),
]
Note = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        help="Licence or attribution to keep beside the figures, after the table's own comments.",
        show_default=False,
    ),
]
ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Where to write it; NAME.published.yaml in this folder if not given.",
        show_default=False,
    ),
]


def import_profile(
    file: Table,
    latency: Latency,
    group_by: GroupBy = "",
    batch: Batch = "batch",
    p50: P50 = None,
    p90: P90 = None,
    p95: P95 = None,
    p99: P99 = None,
    unit: Unit = None,
    per: PerWhat = "request",
    where: Where = None,
    note: Note = None,
    out: ProfileFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make service times of a published table of latency by batch size.

    A stage with service {kind: published, path: FILE, group: gpu=A30} is then
    simulated with the mean and the spread that the table prints.
    """
    from configs.labels import LabelError, parse_labels
    from configs.published import save_published
    from delayline.importing import ColumnMapping, import_table

    percentiles = {50: p50, 90: p90, 95: p95, 99: p99}
    columns = ColumnMapping(
        batch,
        latency,
        {rank: column for rank, column in percentiles.items() if column is not None},
        unit,
        tuple(name.strip() for name in group_by.split(",") if name.strip()),
    )
    wanted: dict[str, str] = {}
    try:
        for text in where or []:
            wanted |= parse_labels(text)
    except LabelError as error:
        raise CommandError(f"--where {error}") from error
    found = import_table(file, columns, per=per, where=wanted, notes=note or [])
    path = out or Path(f"{file.name.partition('.')[0]}.published.yaml")
    if path.is_dir():
        raise CommandError(f"{path} is a folder; give the file to write with --out FILE")
    save_published(path, found.published)
    if not quiet:
        for each in found.notes:
            say(f"note: {each}")
    if json:
        print_json(
            {
                "profile": str(path),
                "per": per,
                "groups": [_plain(g) for g in found.published.groups],
            }
        )
    else:
        _print(found.published, path)


def _plain(group: PublishedGroup) -> dict[str, object]:
    return {
        "labels": dict(group.labels),
        "sizes": list(group.points),
        "mean_ms": [times.mean_ns / 1e6 for times in group.points.values()],
    }


def _print(published: Published, path: Path) -> None:
    from configs.published import PERCENTILES

    console = results()
    groups = published.groups
    many = f"{len(groups)} groups" if len(groups) > 1 else "1 group"
    console.print(f"{published.source}: {many}, batch sizes count {published.per}s")
    console.print()
    by_labels = sorted(groups, key=lambda group: -len(group.labels))
    names = list(dict.fromkeys(name for group in by_labels for name in group.labels))
    ranks = [rank for rank in PERCENTILES if f"p{rank}" in published.columns]
    tail = f"worst\np{ranks[-1]}/mean" if ranks else ""
    heads = ["sizes", "mean ms", *([tail] if tail else []), f"most\n{published.per}s/s"]
    table = plain_table(", ".join(names) or "table", *heads)
    table.columns[0].no_wrap = False
    for group in groups:
        sizes, times = list(group.points), list(group.points.values())
        cells = [f"{count(sizes[0])} - {count(sizes[-1])}", f"{_ms(times[0])} - {_ms(times[-1])}"]
        if ranks:
            cells.append(f"{max(each.percentiles[ranks[-1]] / each.mean_ns for each in times):.2f}")
        most = max(size / each.mean_ns for size, each in group.points.items())
        table.add_row(", ".join(group.labels.values()) or "all", *cells, count(round(most * 1e9)))
    console.print(table)
    console.print()
    which = f", group: {names[0]}=..." if len(groups) > 1 else ""
    console.print(
        f"written to {path}; a stage is served from it by"
        f" service: {{kind: published, path: {path}{which}}}",
        soft_wrap=True,
    )


def _ms(times: BatchTimes) -> str:
    return number(times.mean_ns / 1e6)
