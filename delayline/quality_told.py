"""How the quality of runs is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from delayline.tables import plain_table
from reports.confidence import Estimate
from reports.list_scores import SCORES
from reports.numbers import percent
from reports.quality import Part, RunQuality, over_runs

_HEADS = ("NDCG@10", "±", "recall", "±", "agree-\nment", "±")


def quality_over(each: Sequence[RunQuality]) -> RunQuality | None:
    """That of one setting over its replications; None without any."""
    predicted = [one.predicted for one in each if one.predicted is not None]
    measured = [one.measured for one in each if one.measured is not None]
    if not predicted and not measured:
        return None
    return RunQuality(
        over_runs(predicted) if predicted else None, over_runs(measured) if measured else None
    )


def print_quality(console: Console, found: RunQuality | None) -> None:
    """Predicted beside measured, and each way in which requests were served, where there were several."""
    if found is None:
        return
    table = plain_table("quality", *_HEADS)
    for name, each in (("predicted", found.predicted), ("measured", found.measured)):
        if each is not None:
            table.add_row(name, *score_cells(each.scores))
    console.print()
    console.print(table)
    parts = found.predicted.parts if found.predicted else ()
    if len(parts) > 1 or (parts and not parts[0].row.way.whole):
        console.print()
        console.print(_parts_table(parts))
    console.print("± is half of the 95% bootstrap interval over users", soft_wrap=True)
    if found.measured is not None and found.measured.unjudged:
        console.print(
            f"{found.measured.unjudged:,} requests were not judged: the table holds nothing of their users",
            soft_wrap=True,
        )


def _parts_table(parts: Sequence[Part]) -> Table:
    table = plain_table("served", "requests", *_HEADS)
    for part in parts:
        table.add_row(
            part.row.way.told() or "in full", percent(part.share), *score_cells(part.row.scores)
        )
    return table


def score_cells(found: Mapping[str, Estimate]) -> list[str]:
    """Each score, and half of its interval."""
    cells = []
    for name in SCORES:
        each = found[name]
        half = None if each.low is None or each.high is None else (each.high - each.low) / 2
        cells += [f"{each.value:.4f}", "–" if half is None else f"{half:.4f}"]
    return cells
