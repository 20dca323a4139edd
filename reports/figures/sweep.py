"""The figure of a sweep: a line over one knob, a heat map over two, panels beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports.confidence import Estimate
from reports.figures import heat
from reports.figures.style import GOAL, INK, Sheet, color, nothing_to_show
from reports.sweep_points import Point, label, ordered
from reports.sweep_table import Cell

KINDS = ("svg", "png", "pdf")
_MOST_PANELS = 12
_MOST_STEPS = 12
"""Values of a knob up to which each has a mean of its own."""


@dataclass(frozen=True, slots=True)
class Goal:
    """The objective: latency at a percentile."""

    latency_ms: float
    percentile: float

    def __str__(self) -> str:
        return f"p{self.percentile:g} within {self.latency_ms:g} ms"


def metric_label(metric: str, goal: Goal | None) -> str:
    """The column of a figure as a reader takes it in."""
    if metric == "reached_ms" and goal is not None:
        return f"p{goal.percentile:g} latency of all, ms"
    return label(metric)


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that is drawn."""

    knobs: Sequence[str]
    """Columns of the knobs."""
    points: Sequence[Point]
    metric: str
    """Column of the figure."""
    goal: Goal | None = None

    @property
    def goal_ms(self) -> float | None:
        """The objective's latency, where it can be drawn on the metric's own axis."""
        shown = self.goal is not None and (
            self.metric == "reached_ms"
            or self.metric == f"latency_p{self.goal.percentile:g}_ms".replace("99.9", "999")
        )
        return self.goal.latency_ms if shown and self.goal is not None else None

    @property
    def label(self) -> str:
        """What the figure is called."""
        return metric_label(self.metric, self.goal)

    @property
    def values(self) -> list[list[Cell]]:
        """For each knob the values that it takes, in ascending order, or that of the design."""
        columns = zip(*(point.cells for point in self.points), strict=True)
        return [_ascending(list(dict.fromkeys(column))) for column in columns]

    def best(self) -> Point | None:
        """The setting that meets the objective for the least cost."""
        if self.goal is None:
            return None
        found = ordered(self.points, self.metric, self.goal.latency_ms)
        return found[0][0] if found and self.met(found[0][0]) else None

    def met(self, point: Point) -> bool | None:
        """Whether a setting meets the objective; None where it was refused, or there is none."""
        if self.goal is None or point.reached is None:
            return None
        return point.met(self.goal.latency_ms)


def draw(drawing: Drawing, kind: str) -> bytes:
    """The figure as a file of one of :data:`KINDS`."""
    values = drawing.values
    whole = len(drawing.points) == np.prod([len(column) for column in values])
    if not any(_finite(point.figure) for point in drawing.points):
        with Sheet(7.6, 2.5) as sheet:
            nothing_to_show(sheet.axes[0], f"no setting has a figure for {drawing.label}")
            return sheet.file(kind)
    if len(values) == 1:
        return _line(drawing, values[0], kind)
    if whole and (len(values) == 2 or (len(values) == 3 and len(values[2]) <= _MOST_PANELS)):
        return _heat(drawing, values, kind)
    return _scatter(drawing, values, kind)


def _line(drawing: Drawing, values: Sequence[Cell], kind: str) -> bytes:
    """Means over one knob, in the band of their confidence intervals."""
    with Sheet(7.6, 4) as sheet:
        (axes,) = sheet.axes
        known = [
            (p, p.figure) for p in drawing.points if p.figure is not None and _finite(p.figure)
        ]
        place = _places(axes, values)
        shown = sorted(
            ((place[p.cells[0]], figure) for p, figure in known), key=lambda each: each[0]
        )
        x = [at for at, _ in shown]
        axes.plot(x, [figure.value for _, figure in shown], "o-", color=color(0), markersize=4)
        if all(figure.low is not None for _, figure in shown):
            low, high = ([getattr(figure, end) for _, figure in shown] for end in ("low", "high"))
            axes.fill_between(x, low, high, color=color(0), alpha=0.18, linewidth=0)
            axes.set_title("Mean and 95% interval over replications")
        _goal_line(axes, drawing)
        axes.set_xlabel(label(drawing.knobs[0]))
        axes.set_ylabel(drawing.label)
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        return sheet.file(kind)


def _heat(drawing: Drawing, values: Sequence[Sequence[Cell]], kind: str) -> bytes:
    places = [{value: k for k, value in enumerate(column)} for column in values]
    sides = [
        heat.Side(label(name), [_text(value) for value in column])
        for name, column in zip(drawing.knobs, values, strict=True)
    ]
    best = drawing.best()
    squares: dict[Cell, dict[heat.Place, heat.Square]] = {}
    marked: dict[Cell, heat.Place] = {}
    for point in drawing.points:
        panel = point.cells[2] if len(values) == 3 else None
        at = (places[0][point.cells[0]], places[1][point.cells[1]])
        value = point.figure.value if point.figure is not None and _finite(point.figure) else None
        squares.setdefault(panel, {})[at] = heat.Square(value, drawing.met(point))
        if point is best:
            marked[panel] = at
    panels = (
        [
            heat.Panel(f"{label(drawing.knobs[2])}: {_text(key)}", squares[key], marked.get(key))
            for key in values[2]
        ]
        if len(values) == 3
        else [heat.Panel("", squares[None], marked.get(None))]
    )
    goal, cheapest = f"border of {drawing.goal}", f"cheapest with {drawing.goal}"
    return heat.heat(panels, sides[0], sides[1], drawing.label, goal, cheapest, kind)


def _scatter(drawing: Drawing, values: Sequence[Sequence[Cell]], kind: str) -> bytes:
    """A panel for each knob: the figure of every setting over its value, and the mean."""
    columns = min(len(values), 3)
    rows = -(-len(values) // columns)
    known = [(p, p.figure.value) for p in drawing.points if p.figure and _finite(p.figure)]
    figures = np.array([value for _, value in known])
    shades = [GOAL if drawing.met(point) is False else color(0) for point, _ in known]
    with Sheet(10, 0.5 + 3 * rows, columns=columns, rows=rows) as sheet:
        far = figures.min() > 0 and figures.max() > 30 * figures.min()
        for k, axes in enumerate(sheet.axes[: len(values)]):
            place = _places(axes, values[k])
            x = np.array([place[point.cells[k]] for point, _ in known])
            axes.scatter(x, figures, s=9, c=shades, alpha=0.55, linewidths=0)
            line = "-" if _are_numbers(values[k]) else ""
            axes.plot(*_means(x, figures), color=INK, marker="_", ls=line, lw=1.4)
            _goal_line(axes, drawing)
            axes.set_xlabel(label(drawing.knobs[k]))
            axes.set_ylabel(drawing.label if k % columns == 0 else "")
            if far:
                axes.set_yscale("log")
        for axes in sheet.axes[len(values) :]:
            axes.set_axis_off()
        _scatter_legend(sheet, drawing)
        return sheet.file(kind)


def _scatter_legend(sheet: Sheet, drawing: Drawing) -> None:
    def dot(shade: str, name: str) -> Line2D:
        return Line2D([], [], marker="o", linestyle="", color=shade, markersize=4, label=name)

    handles = [dot(color(0), "a setting")]
    if drawing.goal is not None:
        handles = [dot(color(0), str(drawing.goal)), dot(GOAL, "not within")]
    handles.append(Line2D([], [], color=INK, linewidth=1.4, label="mean over the other knobs"))
    sheet.figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))


def _goal_line(axes: Axes, drawing: Drawing) -> None:
    if drawing.goal_ms is not None:
        axes.axhline(drawing.goal_ms, color=GOAL, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            f"objective {drawing.goal_ms:g} ms",
            (0.99, drawing.goal_ms),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=GOAL,
            fontsize=9,
        )


def _places(axes: Axes, values: Sequence[Cell]) -> dict[Cell, float]:
    """Where the values of a knob lie on an axis: at themselves, or side by side where they are names."""
    if not _are_numbers(values):
        axes.set_xticks(range(len(values)), [_text(value).replace(", ", ",\n") for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        return {value: float(k) for k, value in enumerate(values)}
    numbers = [float(value or 0) for value in values]
    low, high = min(numbers), max(numbers)
    middle = numbers[len(numbers) // 2]
    if low > 0 and high / low >= 8 and middle - low < (high - low) / 4:
        axes.set_xscale("log")
        if len(numbers) <= _MOST_STEPS:
            axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
            axes.minorticks_off()
    return dict(zip(values, numbers, strict=True))


def _means(x: np.ndarray, figures: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean figures over a knob: at each of its values, or over tenths of the settings."""
    order = np.argsort(x, kind="stable")
    different = np.unique(x)
    groups = (
        [np.flatnonzero(x == value) for value in different]
        if len(different) <= _MOST_STEPS
        else np.array_split(order, 10)
    )
    return [float(x[g].mean()) for g in groups], [float(figures[g].mean()) for g in groups]


def _ascending(values: list[Cell]) -> list[Cell]:
    return sorted(values, key=lambda value: float(value or 0)) if _are_numbers(values) else values


def _are_numbers(values: Sequence[Cell]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _text(value: Cell) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "none" if value is None else str(value).lower() if isinstance(value, bool) else value
    return f"{value:g}"


def _finite(figure: Estimate | None) -> bool:
    return figure is not None and np.isfinite(figure.value)
