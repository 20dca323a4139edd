"""The outcome of a regime map: sentences, tables, an object, a figure and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from configs.atomic import write_bytes
from configs.dump import dump_config
from delayline.mapping import Mapped
from delayline.tables import number, plain_table
from reports.figures import regimes as figures
from reports.map_page import MapPage, write_map_page
from reports.numbers import NONE, percent
from reports.percentiles import NS_PER_MS
from reports.plan_page import Part, Rows
from reports.regime_table import ENOUGH, HELPS, HURTS, NEUTRAL, Cell, Regimes
from sim.regimes.score import TUNING

_SIGNS = {HELPS: "+", NEUTRAL: "", HURTS: "−", None: ""}
_MOST_LOADS = 12
"""Loads that a line has room for; of more, every second or third is printed."""
_MOST_LETTERS = 7
"""Of a candidate's name in a map."""


class Told:
    """A map, told."""

    def __init__(self, mapped: Mapped) -> None:
        self.mapped = mapped
        self.found: Regimes = mapped.regimes

    @property
    def asked(self) -> str:
        """What was measured."""
        asked = self.mapped.asked
        return (
            f"{_many(len(self.found.loads), 'load')} x"
            f" {_many(len(self.found.objectives_ms), 'objective')},"
            f" {_many(len(self.found.names), 'candidate')}, tuned on {len(TUNING)} replications and"
            f" scored on {asked.replications} fresh ones of {asked.requests:,} requests"
        )

    @property
    def scale(self) -> str:
        """What loads and objectives are measured by."""
        asked = self.mapped.asked
        return (
            f"capacity {number(asked.capacity_hz)} requests/s, and a request alone takes"
            f" {number(asked.least_ns / NS_PER_MS)} ms"
        )

    def sentences(self) -> Iterator[str]:
        """What the map shows, in words."""
        cells = self.found.cells
        holds = Counter(cell.hold for cell in cells)
        if None not in holds:
            yield (
                f"holding helps in {holds[HELPS]} of {len(cells)} cells, is neutral in"
                f" {holds[NEUTRAL]} and hurts in {holds[HURTS]}"
            )
            for kind, best in ((HELPS, max), (HURTS, min)):
                if holds[kind]:
                    most = best(
                        (cell for cell in cells if cell.hold == kind),
                        key=lambda cell: cell.by_holding or 0.0,
                    )
                    yield (
                        f"it {kind} most at {_at(most)}: {_points(most.by_holding)} of the requests"
                        " within the objective"
                    )
        first = self.found.names[0]
        most = max(cells, key=lambda cell: cell.winner.over_first)
        if most.winner.name != first and most.winner.over_first > 0:
            yield (
                f"the most over {first} is gained by {most.winner.name} ({most.winner.setting}) at"
                f" {_at(most)}: {_points(most.winner.over_first)}"
            )
        elif len(self.found.names) > 1:
            yield f"nowhere is another candidate surely better than {first}"

    def to_json(self) -> dict[str, object]:
        """The object of ``map --json``, without the names of files and ``wall_s``."""
        asked = self.mapped.asked
        holds = Counter(cell.hold for cell in self.found.cells)
        return {
            "capacity_hz": asked.capacity_hz,
            "least_ms": asked.least_ns / NS_PER_MS,
            "loads": list(self.found.loads),
            "objectives_ms": list(self.found.objectives_ms),
            "candidates": list(self.found.names),
            "measured": self.mapped.new,
            "missing": self.mapped.missing,
            "holding": {kind: holds[kind] for kind in (HELPS, NEUTRAL, HURTS)},
            "bears": {
                name: [self.found.bears(name, each) for each in self.found.objectives_ms]
                for name in self.found.names
            },
            "cells": [
                {
                    "load": cell.load,
                    "objective_ms": cell.objective_ms,
                    "winner": cell.winner.name,
                    "setting": cell.winner.setting,
                    "within": cell.winner.within,
                    "over_first": cell.winner.over_first,
                    "hold": cell.hold,
                    "by_holding": cell.by_holding,
                }
                for cell in self.found.cells
            ],
        }

    def print(self, console: Console) -> None:
        """Everything that fits a screen."""
        name = self.mapped.asked.config.name
        console.print(f"{name}: {self.asked}", soft_wrap=True)
        console.print(self.scale)
        if not self.found.cells:
            return
        console.print()
        console.print(_table(self.winners("objective,\nms")))
        if any(cell.hold for cell in self.found.cells):
            console.print(
                "+ where holding helps, − where it hurts; elsewhere it makes no difference"
            )
        console.print()
        console.print(_table(self.bears("objective,\nms")))
        console.print(f"load up to which {100 * ENOUGH:g}% are within the objective")
        console.print()
        for sentence in self.sentences():
            console.print(sentence, soft_wrap=True)

    def winners(self, head: str) -> Rows:
        """By objective and load: the winner, and what holding does."""
        found = self.found
        shown = found.loads[:: -(-len(found.loads) // _MOST_LOADS)]
        return Rows(
            (head, *(f"\n{percent(load)}" for load in shown)),
            tuple(
                (f"{objective:g}", *(_cell(found.at(load, objective)) for load in shown))
                for objective in reversed(found.objectives_ms)
            ),
        )

    def bears(self, head: str) -> Rows:
        """By objective and candidate: the load that it bears."""
        found = self.found
        return Rows(
            (head, *(f"\n{name}" for name in found.names)),
            tuple(
                (
                    f"{objective:g}",
                    *(
                        NONE if load is None else percent(load)
                        for load in (found.bears(name, objective) for name in found.names)
                    ),
                )
                for objective in reversed(found.objectives_ms)
            ),
        )

    def write_figure(self, path: Path) -> None:
        """Draw it into a file, by the kind of its suffix. Raises OSError."""
        name = self.mapped.asked.config.name
        write_bytes(path, figures.draw(self.found, name, path.suffix[1:].lower()))

    def write_page(self, path: Path) -> None:
        """Write the page. Raises OSError."""
        config = self.mapped.asked.config
        headline, *details = [*self.sentences(), self.scale]
        write_map_page(
            path,
            MapPage(
                title=config.name,
                asked=self.asked,
                headline=headline,
                details=tuple(details),
                figure=figures.svg(self.found, ""),
                parts=list(self._parts()),
                config=dump_config(config, path.absolute().parent).partition("\n")[2],
            ),
        )

    def _parts(self) -> Iterator[Part]:
        yield Part(
            "Who wins",
            (
                "The plainest candidate that no other is surely better than (95% intervals of paired"
                " differences, and at least 0.1 points); + where holding helps, − where it hurts; elsewhere"
                " it makes no difference.",
            ),
            self.winners("objective, ms"),
        )
        yield Part(
            "What each bears",
            (f"The load up to which {100 * ENOUGH:g}% of the requests are within the objective.",),
            self.bears("objective, ms"),
        )
        rows = tuple(
            (
                f"{percent(cell.load)}, {cell.objective_ms:g} ms",
                each.name + (" ✓" if each is cell.winner else ""),
                each.setting,
                percent(each.within),
                _points(each.over_first),
                number(each.p99_ms),
            )
            for cell in self.found.cells
            for each in cell.candidates
        )
        heads = ("load, objective", "candidate", "setting", "within", "gain", "p99, ms")
        yield Part(
            "Every cell",
            (f"Gains are over {self.found.names[0]}, in points of the requests.",),
            Rows(heads, rows),
        )


def _table(rows: Rows) -> Table:
    table = plain_table(*rows.heads)
    for row in rows.rows:
        table.add_row(*row)
    return table


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _cell(cell: Cell) -> str:
    return f"{cell.winner.name[:_MOST_LETTERS]} {_SIGNS[cell.hold]}".rstrip()


def _at(cell: Cell) -> str:
    return f"load {percent(cell.load)} and {cell.objective_ms:g} ms"


def _points(gain: float | None) -> str:
    return f"{100 * (gain or 0.0):+.2f} points"
