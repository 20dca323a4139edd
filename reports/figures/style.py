"""What all figures share: colours, fonts, axes, and how a figure becomes SVG text.

Colours are those of Okabe and Ito, told apart by readers with any colour vision. The SVG names each
as a CSS variable with the plain colour as fallback, so that a page may restyle it for the dark, and
text takes the colour and font of the page around it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of runs and stages, in order; a longer list starts again with another line."""
DASHES = ("-", "--", ":")
PARTS = {"merge": "#cc79a7", "hold": "#e69f00", "wait": "#d55e00", "service": "#0072b2"}
"""Colours of the parts of a request's time."""
INK = "#1f2328"
MUTED = "#656d77"
GRID = "#dfe3e8"
GOAL = "#b3261e"
"""Colour of the latency objective."""
GROUND = "#fdfdfe"
"""Background, for what must cover something."""

_VARIABLES = {
    **{color: f"--series-{index}" for index, color in enumerate(SERIES)},
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    GOAL: "--goal",
    GROUND: "--ground",
}
_FONT = "DejaVu Sans"
"""Comes with Matplotlib; only used to measure text, the page chooses what is shown."""
_DPI = 150
"""Of figures that are pixels."""
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "delayline",
    "font.family": [_FONT],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.parse_math": False,
}


class Sheet:
    """A figure while it is drawn; :meth:`svg` ends it.

    ``width`` and ``height`` are in inches of 72 points. Use as a context, so that the style holds for
    everything drawn within and for nothing else.
    """

    def __init__(self, width: float, height: float, columns: int = 1, rows: int = 1) -> None:
        self._context = mpl.rc_context(_SETTINGS)
        self._size = (width, height)
        self._grid = (rows, columns)

    def __enter__(self) -> Sheet:
        self._context.__enter__()
        self.figure = Figure(figsize=self._size, layout="constrained")
        FigureCanvasSVG(self.figure)
        axes = self.figure.subplots(*self._grid, squeeze=False)
        self.axes: list[Axes] = list(axes.flat)
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)

    def svg(self, label: str) -> str:
        """The figure as SVG text; ``label`` tells a reader who cannot see it what it shows."""
        target = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.figure.savefig(target, format="svg", transparent=True, metadata=nothing)
        return _finish(target.getvalue(), label)

    def file(self, kind: str) -> bytes:
        """The figure as the content of a file of its own: ``svg``, ``png`` or ``pdf``."""
        target = io.BytesIO()
        made_at = {"svg": "Date", "png": "Creation Time", "pdf": "CreationDate"}
        metadata = {made_at[kind]: None}  # or no two files would be the same
        self.figure.savefig(target, format=kind, dpi=_DPI, metadata=metadata)
        return target.getvalue()


def color(index: int) -> str:
    """The colour of series number ``index``."""
    return SERIES[index % len(SERIES)]


def dash(index: int) -> str:
    """The line style of series number ``index``."""
    return DASHES[index // len(SERIES) % len(DASHES)]


def end_labels(axes: Axes, labels: Sequence[tuple[float, str, str]], *, gap: float = 0.075) -> None:
    """Names beside the right edge at heights (y in data, text, colour), moved apart where they touch.

    ``gap`` is the least distance as a share of the axes' height. The axes' limits must be set before.
    """
    to_share = axes.transData + axes.transAxes.inverted()
    placed = sorted(
        (float(to_share.transform((1.0, y))[1]), text, shade) for y, text, shade in labels
    )
    heights: list[float] = []
    for height, _, _ in placed:
        heights.append(max(height, heights[-1] + gap) if heights else max(height, 0.0))
    over = (heights[-1] - 1.0) if heights else 0.0
    for index in range(len(heights) - 1, -1, -1):
        limit = 1.0 if index == len(heights) - 1 else heights[index + 1] - gap
        heights[index] = min(heights[index], limit) if over > 0 else heights[index]
    for height, (_, text, shade) in zip(heights, placed, strict=True):
        axes.text(
            1.012,
            height,
            text,
            transform=axes.transAxes,
            color=shade,
            va="center",
            fontsize=9.5,
        )


def nothing_to_show(axes: Axes, text: str) -> None:
    """Say so in an empty figure."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=MUTED)


def with_prefix(svg: str, prefix: str) -> str:
    """The figure with ``prefix`` before all its ids, so that several may stand in one page."""
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    return svg.replace('href="#', f'href="#{prefix}')


def _finish(svg: str, label: str) -> str:
    """Without prologue; colours as CSS variables, the page's font, short numbers, and a label."""
    svg = svg[svg.index("<svg") :]
    # A style element would reach beyond the figure once it stands in a page.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace(
        "xlink:href", "href"
    )
    for plain, variable in _VARIABLES.items():
        svg = svg.replace(f": {plain}", f": var({variable}, {plain})")
    svg = svg.replace(f"'{_FONT}'", "var(--font, sans-serif)")
    svg = re.sub(r' d="[^"]*"', lambda path: _rounded(path.group()), svg)
    # Fixed sizes would keep the page from scaling it; the view box says the same.
    for name in ("width", "height"):
        svg = re.sub(rf'(<svg[^>]*?) {name}="[^"]*"', r"\1", svg, count=1)
    head = (
        f'<svg role="img" aria-label="{escape(label, quote=True)}" style="stroke-linejoin: round"'
    )
    return svg.replace("<svg", head, 1)


def _rounded(path: str) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", path).replace(" \n", " ")
