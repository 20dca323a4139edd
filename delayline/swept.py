"""The outcome of a sweep: as an object, as a table of the best, as a figure."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from configs.atomic import write_bytes
from delayline.sweeping import Swept
from delayline.tables import number, plain_table, spread
from reports.confidence import Estimate
from reports.figures.sweep import Drawing, Goal, draw, metric_label
from reports.sweep_points import Point, label, ordered, points
from reports.sweep_table import Cell, finite, metric_column

_BEST = 5


class Told:
    """A sweep, looked at by one metric."""

    def __init__(self, swept: Swept, metric: str | None) -> None:
        """Without a ``metric`` it is the objective's latency, or p99 where there is no objective.

        Raises SweepError for a metric that is none.
        """
        sweep, objective = swept.sweep, swept.sweep.config.objective
        self.swept = swept
        self.knobs = list(sweep.columns.knobs)
        self.metric = metric_column(sweep.columns, metric or ("reached_ms" if objective else "p99"))
        self.goal: Goal | None = None
        if objective is not None:
            self.goal = Goal(objective.latency_ns / 1e6, objective.percentile)
        self.points = points(swept.table, self.knobs, self.metric)
        goal_ms = None if self.goal is None else self.goal.latency_ms
        self.best = ordered(self.points, self.metric, goal_ms)

    @property
    def refused(self) -> list[Point]:
        """Settings that were refused."""
        return [point for point in self.points if point.reason]

    @property
    def met(self) -> int | None:
        """How many settings meet the objective; None where there is none."""
        goal = self.goal
        return None if goal is None else sum(p.met(goal.latency_ms) for p in self.points)

    def write_figure(self, path: Path) -> None:
        """Draw it into a file, by the kind of its suffix. Raises OSError."""
        drawing = Drawing(self.knobs, self.points, self.metric, self.goal)
        write_bytes(path, draw(drawing, path.suffix[1:].lower()))

    def to_json(self) -> dict[str, object]:
        """The object of ``sweep --json``, without ``table``, ``figure`` and ``wall_s``."""
        goal = self.goal
        return {
            "settings": len(self.points),
            "replications": self.swept.sweep.config.replications,
            "runs": self.swept.table.num_rows,
            "simulated": self.swept.new,
            "missing": self.swept.missing,
            "refused": len(self.refused),
            "metric": self.metric,
            "objective": goal and {"latency_ms": goal.latency_ms, "percentile": goal.percentile},
            "met": self.met,
            "best": self._side(*self.best[0]) if self.best else None,
        }

    def print(self, console: Console) -> None:
        """How much was run, and the best settings."""
        config = self.swept.sweep.config
        runs = self.swept.table.num_rows
        each = f" x {config.replications} replications" if config.replications > 1 else ""
        before = f", {runs - self.swept.new:,} of them before" if runs > self.swept.new else ""
        console.print(f"{config.name}: {len(self.points):,} settings{each}, {runs:,} runs{before}")
        if self.refused:
            refused = len(self.refused)
            were = "1 setting was" if refused == 1 else f"{refused:,} settings were"
            console.print(f"{were} refused, the first: {self.refused[0].reason}", soft_wrap=True)
        slow = self.swept.table["engine"].to_pylist().count("simpy")
        if slow:
            console.print(f"{slow:,} runs were on the reference driver, which is slow")
        if self.goal is not None:
            console.print(f"objective: {self.goal}: {self.met:,} settings meet it")
        if self.best:
            console.print()
            console.print(self._table())
            console.print()

    def _table(self) -> object:
        best = self.best[:_BEST]
        shown = list(
            dict.fromkeys([self.metric, *(["reached_ms"] if self.goal else []), "busy_s_per_1000"])
        )
        table = plain_table("", *(str(place) for place in range(1, len(best) + 1)))
        for column in table.columns:
            column.no_wrap = False  # the values of some knobs are long
        for k, name in enumerate(self.knobs):
            table.add_row(label(name), *(_shown(point.cells[k]) for point, _ in best))
        for name in shown:
            table.add_row(
                metric_label(name, self.goal), *(self._figure(name, *each) for each in best)
            )
        return table

    def _figure(self, name: str, point: Point, figure: Estimate) -> str:
        if name == self.metric:
            return spread(figure)
        return spread(point.reached) if name == "reached_ms" else number(point.busy_s_per_1000)

    def _side(self, point: Point, figure: Estimate) -> dict[str, object]:
        return {
            "setting": dict(zip(self.knobs, point.cells, strict=True)),
            self.metric: {key: finite(value) for key, value in figure.to_json().items()},
            "busy_s_per_1000": point.busy_s_per_1000,
        }


def _shown(value: Cell) -> str:
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return value if isinstance(value, str) else f"{value:g}"
