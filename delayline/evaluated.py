"""How measured quality is shown."""

from __future__ import annotations

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
    keeping = [stage["name"] for stage in table.stages if stage["name"] in _keep(table.rows[0].way)]
    varied = [name for name in keeping if len({_keep(row.way)[name] for row in table.rows}) > 1]
    alike = [f"{name} {_keep(table.rows[0].way)[name]:,}" for name in keeping if name not in varied]
    if alike:
        console.print(f"kept throughout: {', '.join(alike)}", soft_wrap=True)
    console.print()
    heads = [f"keep\n{name}" if place == 0 else f"\n{name}" for place, name in enumerate(varied)]
    shown = plain_table(
        "served",
        *heads,
        "NDCG@10",
        "±",
        f"recall\n@{table.length}",
        "±",
        "agree-\nment",
        "±",
    )
    for row in table.rows:
        widths = (f"{_keep(row.way)[name]:,}" for name in varied)
        shown.add_row(row.way.told() or "in full", *widths, *score_cells(row.scores))
    shown.add_row("full model", *("" for _ in varied), *score_cells(table.full))
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


def _keep(way: Way) -> dict[str, int]:
    """Width by stage."""
    return dict(way.keep)
