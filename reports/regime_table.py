"""The table of a regime map: one row for each load, objective and candidate, and what it shows as values."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv

from configs.atomic import write_bytes
from reports import sweep_table
from reports.sweep_table import Description, Row

SCHEMA = pa.schema(
    [
        ("load", pa.float64()),
        ("rate_hz", pa.float64()),
        ("objective_ms", pa.float64()),
        ("candidate", pa.string()),
        ("setting", pa.string()),
        ("holds", pa.bool_()),
        ("replications", pa.int32()),
        ("within", pa.float64()),
        ("within_low", pa.float64()),
        ("within_high", pa.float64()),
        ("p99_ms", pa.float64()),
        ("busy_s_per_1000", pa.float64()),
        ("over_first", pa.float64()),
        ("over_first_low", pa.float64()),
        ("over_first_high", pa.float64()),
        ("winner", pa.bool_()),
        ("hold", pa.string()),
        ("by_holding", pa.float64()),
        ("by_holding_low", pa.float64()),
        ("by_holding_high", pa.float64()),
    ]
)
"""``within`` is the mean share of requests within the objective, ``over_first`` its gain over the first
candidate; ``hold`` and ``by_holding`` are of the cell: what the best that holds gains over the best that
does not. Low and high are the ends of 95% intervals.
"""
HELPS, NEUTRAL, HURTS = "helps", "neutral", "hurts"
ENOUGH = 0.99
"""Share of the requests within an objective from which it is kept."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate in a cell."""

    name: str
    setting: str
    within: float
    over_first: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A load and an objective."""

    load: float
    objective_ms: float
    candidates: tuple[Candidate, ...]
    winner: Candidate
    hold: str | None
    by_holding: float | None


@dataclass(frozen=True, slots=True)
class Regimes:
    """A whole map: a cell for each load with each objective."""

    loads: tuple[float, ...]
    objectives_ms: tuple[float, ...]
    names: tuple[str, ...]
    """Of the candidates; the first is what gains are over."""
    cells: tuple[Cell, ...]
    """By objective, then load."""

    def at(self, load: float, objective_ms: float) -> Cell:
        """One cell. Raises StopIteration where there is none."""
        return next(c for c in self.cells if (c.load, c.objective_ms) == (load, objective_ms))

    def bears(self, name: str, objective_ms: float) -> float | None:
        """The highest load up to which a candidate keeps the objective at every load; None for none."""
        found = None
        for load in self.loads:
            (here,) = (c for c in self.at(load, objective_ms).candidates if c.name == name)
            if here.within < ENOUGH:
                break
            found = load
        return found


def regimes_of(rows: Iterable[Row], names: Sequence[str]) -> Regimes:
    """The map that rows make, candidates in the order of ``names``; loads whose rows are not whole are
    left out.
    """
    by_cell: dict[tuple[float, float], dict[str, Row]] = {}
    for row in rows:
        key = _number(row["objective_ms"]), _number(row["load"])
        by_cell.setdefault(key, {})[str(row["candidate"])] = row
    objectives = sorted({objective for objective, _ in by_cell})
    whole = {
        load
        for load in {load for _, load in by_cell}
        if all(set(names) <= set(by_cell.get((each, load), {})) for each in objectives)
    }
    cells = [
        _cell(load, objective, [found[name] for name in names])
        for (objective, load), found in sorted(by_cell.items())
        if load in whole
    ]
    return Regimes(tuple(sorted(whole)), tuple(objectives), tuple(names), tuple(cells))


def _cell(load: float, objective_ms: float, rows: Sequence[Row]) -> Cell:
    candidates = tuple(
        Candidate(
            str(row["candidate"]),
            str(row["setting"]),
            _number(row["within"]),
            _number(row["over_first"]),
            _number(row["p99_ms"]),
        )
        for row in rows
    )
    winner = next(each for each, row in zip(candidates, rows, strict=True) if row["winner"])
    hold, by_holding = rows[0]["hold"], rows[0]["by_holding"]
    return Cell(
        load,
        objective_ms,
        candidates,
        winner,
        None if hold is None else str(hold),
        None if by_holding is None else _number(by_holding),
    )


def _number(value: sweep_table.Cell) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"a figure of a map is {value!r}, no number")
    return float(value)


def table_of(rows: Sequence[Row], description: Description) -> pa.Table:
    """The rows as a table that says what it is of."""
    schema = sweep_table.described(SCHEMA, description)
    return pa.Table.from_pylist(list(rows), schema=schema)


def write(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet, or as CSV by its suffix, whole or not at all. Raises OSError."""
    if path.suffix.lower() != ".csv":
        sweep_table.write(path, table)
        return
    target = io.BytesIO()
    csv.write_csv(table, target)
    write_bytes(path, target.getvalue())
