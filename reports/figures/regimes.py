"""A regime map as figures: who wins where, by how much, what holding adds, and what each bears."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.patches import Patch, Rectangle

from reports.figures.style import GRID, GROUND, INK, MUTED, SERIES, Sheet, color, dash, end_labels
from reports.regime_table import ENOUGH, HELPS, HURTS, Cell, Regimes

_HELPS, _HURTS = SERIES[0], SERIES[1]
_GAINS = LinearSegmentedColormap.from_list("gains", [GRID, SERIES[2]])
_LEAST_SCALE = 0.01
"""Gains that are drawn in full colour are of at least so much."""
_MOST_NUMBERS = 12
"""Cells in a row for whose numbers there is room."""

Rgb = tuple[float, float, float]
Shade = Callable[[Cell], Rgb]


def draw(found: Regimes, title: str, kind: str) -> bytes:
    """All as a file of its own: ``svg``, ``png`` or ``pdf``."""
    with _sheet(found, title) as sheet:
        return sheet.file(kind)


def svg(found: Regimes, title: str) -> str:
    """All as SVG text for a page."""
    with _sheet(found, title) as sheet:
        return sheet.svg("Regime map: the winner, its gain, what holding adds, and what each bears")


class _sheet(Sheet):  # noqa: N801
    """The sheet with everything on it once it is entered."""

    def __init__(self, found: Regimes, title: str) -> None:
        height = 2 * (1.1 + max(0.3 * len(found.objectives_ms), 1.6))
        super().__init__(11.0, height, columns=2, rows=2)
        self._found, self._title = found, title

    def __enter__(self) -> Sheet:
        super().__enter__()
        found = self._found
        winner, gain, hold, bears = self.axes
        self.figure.suptitle(self._title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        _winners(winner, found)
        _gains(gain, found)
        _holds(hold, found)
        _bears(bears, found)
        return self


def _winners(axes: Axes, found: Regimes) -> None:
    """Each cell in the colour of its winner, with the share that it answers in time."""
    axes.set_title("Who wins, and % within the objective")
    _map(axes, found, lambda cell: _pale(_of(found, cell.winner.name)), _share)
    won = {cell.winner.name for cell in found.cells}
    handles = [
        Patch(facecolor=_pale(_of(found, name)), label=name) for name in found.names if name in won
    ]
    _legend(axes, handles)


def _gains(axes: Axes, found: Regimes) -> None:
    axes.set_title(f"What the winner gains over {found.names[0]}, points")
    most = max((cell.winner.over_first for cell in found.cells), default=0.0)
    norm = Normalize(0, max(most, _LEAST_SCALE))
    _map(
        axes,
        found,
        lambda cell: to_rgb(_GAINS(float(norm(cell.winner.over_first)))),
        lambda cell: _points(cell.winner.over_first),
    )
    names = f"nothing: {found.names[0]} is as good as any"
    _legend(axes, [Patch(facecolor=GRID, label=names)])


def _holds(axes: Axes, found: Regimes) -> None:
    """What the best that holds adds to the best that does not; grey where it cannot be told."""
    axes.set_title("What holding adds to the best without, points")
    known = [abs(cell.by_holding) for cell in found.cells if cell.by_holding is not None]
    if not known:
        axes.set_axis_off()
        axes.text(
            0.5,
            0.5,
            "needs a candidate that holds and one that does not",
            ha="center",
            color=MUTED,
            transform=axes.transAxes,
        )
        return
    most = max(*known, _LEAST_SCALE)

    def shade(cell: Cell) -> Rgb:
        if cell.hold not in (HELPS, HURTS):
            return to_rgb(GRID)
        strength = 0.3 + 0.7 * min(abs(cell.by_holding or 0.0) / most, 1.0)
        return _mixed(_HELPS if cell.hold == HELPS else _HURTS, strength)

    _map(
        axes,
        found,
        shade,
        lambda cell: "" if cell.hold not in (HELPS, HURTS) else _points(cell.by_holding or 0.0),
    )
    _legend(
        axes,
        [
            Patch(facecolor=_HELPS, label="helps"),
            Patch(facecolor=GRID, label="neutral"),
            Patch(facecolor=_HURTS, label="hurts"),
        ],
    )


def _bears(axes: Axes, found: Regimes) -> None:
    """For each candidate the load up to which it keeps each objective."""
    axes.set_title(f"Load up to which {100 * ENOUGH:g}% are within the objective")
    places = range(len(found.objectives_ms))
    labels = []
    for name in found.names:
        index = found.names.index(name)
        loads = [100 * (found.bears(name, each) or 0.0) for each in found.objectives_ms]
        axes.plot(places, loads, marker="o", ms=4, color=color(index), linestyle=dash(index))
        labels.append((loads[-1], name, color(index)))
    axes.set_xticks(list(places), [f"{each:g}" for each in found.objectives_ms])
    axes.set_xlabel("objective, ms")
    axes.set_ylabel("load, % of capacity")
    axes.set_ylim(-3, 100 * max(found.loads, default=1.0) + 5)
    end_labels(axes, labels)


def _map(axes: Axes, found: Regimes, shade: Shade, text: Callable[[Cell], str]) -> None:
    """A square for each cell: loads from the left, objectives from below."""
    numbers = len(found.loads) <= _MOST_NUMBERS
    for cell in found.cells:
        x = found.loads.index(cell.load)
        y = found.objectives_ms.index(cell.objective_ms)
        fill = shade(cell)
        axes.add_patch(
            Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=fill, edgecolor=GROUND, lw=1.2)
        )
        if numbers:
            ink = INK if _light(fill) else GROUND
            axes.text(x, y, text(cell), ha="center", va="center", fontsize=8, color=ink)
    axes.grid(visible=False)
    axes.set_xlim(-0.5, len(found.loads) - 0.5)
    axes.set_ylim(-0.5, len(found.objectives_ms) - 0.5)
    step = -(-len(found.loads) // _MOST_NUMBERS)
    shown = list(range(0, len(found.loads), step))
    axes.set_xticks(shown, [f"{100 * found.loads[k]:g}%" for k in shown])
    axes.set_yticks(range(len(found.objectives_ms)), [f"{each:g}" for each in found.objectives_ms])
    axes.set_xlabel("load, share of the capacity")
    axes.set_ylabel("objective, ms")
    for side in axes.spines.values():
        side.set_visible(False)


def _legend(axes: Axes, handles: Sequence[Patch]) -> None:
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.2),
        ncols=max(len(handles), 1),
        handlelength=1.2,
        columnspacing=1.2,
    )


def _of(found: Regimes, name: str) -> str:
    return color(found.names.index(name))


def _share(cell: Cell) -> str:
    share = 100 * cell.winner.within
    if share > 99.995:
        return "100"
    # Near 100 the digits tell; below, they do not.
    return f"{share:.2f}" if share > 99 else f"{share:.1f}" if share >= 0.05 else "0"


def _points(gain: float) -> str:
    points = 100 * gain
    if abs(points) < 0.05:
        return ""
    return f"{points:+.1f}" if abs(points) < 10 else f"{points:+.0f}"


def _mixed(shade: str, strength: float) -> Rgb:
    """A colour let down with the ground's."""
    red, green, blue = (
        strength * one + (1 - strength) * other
        for one, other in zip(to_rgb(shade), to_rgb(GROUND), strict=True)
    )
    return red, green, blue


def _pale(shade: str) -> Rgb:
    return _mixed(shade, 0.55)


def _light(fill: Rgb) -> bool:
    red, green, blue = fill
    return 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
