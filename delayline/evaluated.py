"""How measured quality is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console

from delayline.quality_told import score_cells
from delayline.tables import plain_table
from reports.list_scores import TOP
from reports.quality_table import QualityTable, Way, row_json, scores_json


def print_evaluated(console: Console, name: str, table: QualityTable) -> None:
    """Everything about a table: a row for each way of serving, and the full model's."""
    console.print(
        f"{name}: lists of {table.length} for {len(table.users):,} users, one interaction of each held"
        " out",
        soft_wrap=True,
    )
    console.print(
        f"full model: {table.ranker} over {table.candidates:,} candidates",
        soft_wrap=True,
    )
    console.print()
    stages = [stage["name"] for stage in table.stages]
    served = any(not row.way.whole for row in table.rows)
    keeping = [name for name in stages if name in dict(table.rows[0].way.keep)]
    heads = [f"keep\n{name}" if place == 0 else f"\n{name}" for place, name in enumerate(keeping)]
    shown = plain_table(
        *heads,
        *(["served"] if served else []),
        "NDCG@10",
        "±",
        f"recall\n@{table.length}",
        "±",
        "agree-\nment",
        "±",
    )
    for row in table.rows:
        shown.add_row(
            *_widths(row.way, keeping),
            *([row.way.told() or "in full"] if served else []),
            *score_cells(row.scores),
        )
    full = ["full model", *[""] * (len(keeping) - 1)]
    shown.add_row(*full, *([""] if served else []), *score_cells(table.full))
    console.print(shown)
    console.print("± is half of the 95% bootstrap interval over users")
    if table.length < TOP:
        console.print(f"lists hold {table.length}, so that NDCG@10 looks at no more")


def evaluated_json(table: QualityTable) -> dict[str, Any]:
    """The object of ``--json``, without file and ``wall_s``."""
    return {
        "users": len(table.users),
        "length": table.length,
        "ranker": table.ranker,
        "candidates": table.candidates,
        "full": scores_json(table.full),
        "rows": [row_json(row) for row in table.rows],
    }


def _widths(way: Way, keeping: Sequence[str]) -> Iterator[str]:
    keep = dict(way.keep)
    yield from (f"{keep[name]:,}" for name in keeping)
