"""A figure over two knobs, or over three in panels: one coloured square a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patches import Patch, Rectangle

from reports.figures.style import GOAL, GRID, GROUND, INK, MUTED, Sheet
from reports.numbers import figure as in_digits

COLORS = "cividis"
"""From little to much, even in lightness, told apart by readers with any colour vision."""
_LOG_FROM = 30
"""Ratio of the largest to the least from which colours stand for factors."""
_MOST_LABELS = 12
_MOST_NUMBERS = 14
"""Squares in a row for whose numbers there is room."""

Place = tuple[int, int]
"""Column and row of a square, from the left and from below."""


@dataclass(frozen=True, slots=True)
class Square:
    """One setting."""

    value: float | None
    """None where there is none: refused, or too many requests without an answer."""
    met: bool | None = None
    """Whether it meets the objective; None where there is none."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One heat map."""

    title: str
    squares: Mapping[Place, Square]
    best: Place | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """A knob: its name, and its values from the left or from below."""

    label: str
    values: Sequence[str]


def heat(
    panels: Sequence[Panel], across: Side, up: Side, metric: str, goal: str, best: str, kind: str
) -> bytes:
    """Panels on one scale of colours, as a file of that kind.

    ``goal`` says what the red border goes around, and ``best`` what the marked square is.
    """
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    width = 10.0 if columns > 1 else 7.6
    height = 1.1 + rows * min(max(0.36 * len(up.values) + 0.8, 2.6), 5.4)
    norm = scale([s.value for panel in panels for s in panel.squares.values()])
    with Sheet(width, height, columns=columns, rows=rows) as sheet:
        for axes, panel in zip(sheet.axes, panels, strict=False):
            _panel(axes, panel, across, up, norm, numbers=columns == 1)
        for axes in sheet.axes[len(panels) :]:
            axes.set_axis_off()
        bar = sheet.figure.colorbar(
            ScalarMappable(norm, COLORS), ax=sheet.axes, pad=0.015, format="{x:g}"
        )
        bar.minorticks_off()
        bar.set_label(metric)
        bar.outline.set_visible(False)
        handles = _legend(panels, goal, best)
        if handles:
            sheet.figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))
        return sheet.file(kind)


def scale(values: Sequence[float | None]) -> Normalize:
    """From the least to the largest; by factors where they are far apart."""
    known = [value for value in values if value is not None] or [0.0, 1.0]
    low, high = min(known), max(known)
    if low == high:
        return Normalize(low - 0.5, high + 0.5)
    return LogNorm(low, high) if 0 < low * _LOG_FROM < high else Normalize(low, high)


def _panel(
    axes: Axes, panel: Panel, across: Side, up: Side, norm: Normalize, *, numbers: bool
) -> None:
    values = np.full((len(up.values), len(across.values)), np.nan)
    for (column, row), square in panel.squares.items():
        values[row, column] = np.nan if square.value is None else square.value
    axes.imshow(values, cmap=COLORS, norm=norm, origin="lower", aspect="auto")
    axes.grid(visible=False)
    axes.set_title(panel.title)
    axes.set_xlabel(across.label)
    axes.set_ylabel(up.label)
    axes.set_xticks(*_ticks(across.values))
    axes.set_yticks(*_ticks(up.values))
    for place, square in panel.squares.items():
        if square.value is None:
            axes.add_patch(_square(place, facecolor=GRID, edgecolor=MUTED, hatch="////", lw=0))
        elif numbers and len(across.values) <= _MOST_NUMBERS:
            axes.text(
                *place,
                in_digits(square.value),
                ha="center",
                va="center",
                fontsize=8,
                color=_readable(float(norm(square.value))),
            )
    axes.add_collection(LineCollection(_border(panel.squares), colors=GOAL, linewidths=2))
    if panel.best is not None:
        axes.add_patch(_square(panel.best, inset=0.07, fill=False, edgecolor=GROUND, lw=2.4))
        axes.add_patch(_square(panel.best, inset=0.07, fill=False, edgecolor=INK, lw=1.2))


def _square(place: Place, inset: float = 0.0, **style: object) -> Rectangle:
    column, row = place
    side = 1 - 2 * inset
    corner = (column - 0.5 + inset, row - 0.5 + inset)
    return Rectangle(corner, side, side, **style)  # type: ignore[arg-type]


def _border(squares: Mapping[Place, Square]) -> list[tuple[Place, ...]]:
    """The edges between squares that meet the objective and squares that do not."""
    lines = []
    for (column, row), square in squares.items():
        for right, above in ((1, 0), (0, 1)):
            other = squares.get((column + right, row + above))
            if other is None or other.met is None or other.met == square.met:
                continue
            x, y = column + 0.5 * right, row + 0.5 * above
            lines.append(((x - 0.5 * above, y - 0.5 * right), (x + 0.5 * above, y + 0.5 * right)))
    return lines  # type: ignore[return-value]


def _ticks(values: Sequence[str]) -> tuple[list[int], list[str]]:
    """Every value that there is room for."""
    step = -(-len(values) // _MOST_LABELS)
    places = list(range(0, len(values), step))
    return places, [values[place] for place in places]


def _readable(share: float) -> str:
    """A colour that is read on that of a square."""
    red, green, blue, _ = mpl.colormaps[COLORS](share)
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else GROUND


def _legend(panels: Sequence[Panel], goal: str, best: str) -> list[Patch]:
    squares = [square for panel in panels for square in panel.squares.values()]
    handles = []
    if any(_border(panel.squares) for panel in panels):
        handles.append(Patch(fill=False, edgecolor=GOAL, lw=2, label=goal))
    if any(panel.best is not None for panel in panels):
        handles.append(Patch(fill=False, edgecolor=INK, lw=1.2, label=best))
    if any(square.value is None for square in squares):
        handles.append(
            Patch(
                facecolor=GRID,
                edgecolor=MUTED,
                hatch="////",
                lw=0,
                label="refused, or without answers",
            )
        )
    return handles
