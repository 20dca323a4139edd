"""What a benchmark reports: rows of a table, and the figures behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.timing import Spread


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured and, where something was asked of it, whether that was reached."""

    figure: str
    measured: str
    asked: str = ""
    reached: bool | None = None

    def as_dict(self) -> dict[str, str | bool | None]:
        """For JSON."""
        return {
            "figure": self.figure,
            "asked": self.asked,
            "measured": self.measured,
            "reached": self.reached,
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """The rows of one module, and its figures as JSON."""

    rows: tuple[Row, ...]
    data: dict[str, Any] = field(default_factory=dict)


Measure = Callable[[], Measured]


def show(rows: list[Row], caption: str) -> None:
    """Print the table."""
    table = Table(title=caption, title_justify="left", title_style="")
    table.add_column("figure", ratio=4)
    table.add_column("asked", ratio=3)
    table.add_column("measured", ratio=4)
    table.add_column("reached")
    for row in rows:
        reached = {True: "yes", False: "no", None: ""}[row.reached]
        table.add_row(row.figure, row.asked, row.measured, reached)
    Console(width=None if Console().is_terminal else 140).print(table)


def millions(rate_hz: Spread) -> str:
    """A rate with its spread, in millions a second."""
    low, mid, high = (f"{value / 1e6:.3g}" for value in (rate_hz.min, rate_hz.median, rate_hz.max))
    return f"{mid} M requests/s ({low} to {high})"


def thousands(rate_hz: Spread) -> str:
    """A rate with its spread, in thousands a second."""
    low, mid, high = (f"{value / 1e3:.3g}" for value in (rate_hz.min, rate_hz.median, rate_hz.max))
    return f"{mid} k requests/s ({low} to {high})"


def times(ratio: Spread, digits: int = 0) -> str:
    """A ratio with its spread."""
    low, mid, high = (f"{value:,.{digits}f}" for value in (ratio.min, ratio.median, ratio.max))
    return f"{mid} times ({low} to {high})"
