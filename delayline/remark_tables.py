"""Settings by stage, and what became of those that did not pass as they were, as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.console import Console

from configs.servers.base import Remark
from configs.servers.left_out import shown
from delayline.tables import plain_table

_DASH = "–"


def print_settings(console: Console, stages: Mapping[str, Mapping[str, object]]) -> None:
    """A column for each stage, a row for each key that one of them has."""
    table = plain_table("", *stages)
    for column in table.columns[1:]:
        column.no_wrap = False
    for key in dict.fromkeys(key for settings in stages.values() for key in settings):
        cells = (settings.get(key) for settings in stages.values())
        table.add_row(key, *(_DASH if cell is None else _text(cell) for cell in cells))
    console.print(table)


def _text(cell: object) -> str:
    return str(cell) if isinstance(cell, str | int | float) else shown(cell)


def print_remarks(console: Console, remarks: Sequence[Remark]) -> None:
    """The remarks by fate."""
    for fate, group in groupby(remarks, key=lambda remark: remark.fate):
        console.print()
        console.print(f"{fate.value}:")
        for remark in group:
            console.print(f"  {remark.where}: {remark.text}", soft_wrap=True)


def remarks_json(remarks: Sequence[Remark]) -> list[dict[str, str]]:
    """The remarks as plain values."""
    return [
        {"fate": remark.fate.value, "where": remark.where, "text": remark.text}
        for remark in remarks
    ]
