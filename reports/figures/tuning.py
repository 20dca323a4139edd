"""What tuning tried: latency against cost, and the settings that no other is better than in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from reports.figures.style import GOAL, GROUND, MUTED, Sheet, color

KINDS = ("svg", "png", "pdf")
_BEYOND = 2.0
"""How far beyond the objective, the start and the best the latency axis goes, as a factor."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A setting: its latency in milliseconds, its cost, and their intervals where they are known."""

    latency_ms: float
    cost: float
    latency_interval: tuple[float, float] | None = None
    cost_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that is drawn; ``latency`` and ``cost`` are the labels of the axes."""

    tried: Sequence[Spot]
    front: Sequence[Spot]
    start: Spot
    best: Spot
    objective_ms: float
    latency: str
    cost: str


def draw(drawing: Drawing, kind: str) -> bytes:
    """The figure as the content of a file, one of :data:`KINDS`.

    Settings that are far later than the objective, or that leave requests without an answer, lie at the
    right edge.
    """
    with Sheet(8.5, 4.6) as sheet:
        (axes,) = sheet.axes
        top_ms = _top_ms(drawing)
        _tried(axes, drawing.tried, top_ms)
        if drawing.front:
            _front(axes, drawing.front)
        for spot, marker, shade, label in (
            (drawing.start, "s", color(1), "start"),
            (drawing.best, "D", color(0), "chosen"),
        ):
            axes.plot(
                [min(spot.latency_ms, top_ms * 0.985)], [spot.cost], marker, color=shade,
                markersize=8, markeredgecolor=GROUND, markeredgewidth=0.9, label=label, zorder=5,
            )  # fmt: skip
        axes.axvline(drawing.objective_ms, color=GOAL, linewidth=1.2, linestyle=(0, (4, 3)))
        left = drawing.objective_ms > 0.7 * top_ms
        axes.annotate(
            f"objective {drawing.objective_ms:g} ms", (drawing.objective_ms, 1),
            xycoords=("data", "axes fraction"), xytext=(-4 if left else 4, -2),
            textcoords="offset points", color=GOAL, fontsize=9, va="top",
            ha="right" if left else "left",
        )  # fmt: skip
        axes.set_xlim(0, top_ms)
        axes.set_xlabel(drawing.latency)
        axes.set_ylabel(drawing.cost)
        handles, labels = axes.get_legend_handles_labels()
        sheet.figure.legend(handles, labels, loc="outside lower left", ncols=len(labels))
        return sheet.file(kind)


def _tried(axes: Axes, tried: Sequence[Spot], top_ms: float) -> None:
    inside = [spot for spot in tried if spot.latency_ms < top_ms]
    beyond = [spot for spot in tried if spot.latency_ms >= top_ms]
    axes.plot(
        [spot.latency_ms for spot in inside], [spot.cost for spot in inside], "o", color=MUTED,
        markersize=4.5, alpha=0.5, markeredgewidth=0, label="tried, in the search",
    )  # fmt: skip
    if beyond:
        axes.plot(
            [top_ms * 0.985] * len(beyond), [spot.cost for spot in beyond], ">", color=MUTED,
            markersize=5, alpha=0.5, markeredgewidth=0, label="tried, later than shown",
        )  # fmt: skip


def _front(axes: Axes, front: Sequence[Spot]) -> None:
    """A staircase: whatever lies above and to the right of it is dominated."""
    latencies = [spot.latency_ms for spot in front]
    costs = [spot.cost for spot in front]
    axes.step(latencies, costs, where="post", color=color(2), linewidth=1.2, alpha=0.8, zorder=3)
    axes.errorbar(
        latencies, costs,
        xerr=_errors(latencies, [spot.latency_interval for spot in front]),
        yerr=_errors(costs, [spot.cost_interval for spot in front]),
        fmt="o", color=color(2), markersize=5.5, elinewidth=1.4, zorder=4,
        label="front, on fresh replications",
    )  # fmt: skip


def _errors(
    middles: Sequence[float], ends: Sequence[tuple[float, float] | None]
) -> tuple[list[float], list[float]]:
    pairs = [end or (middle, middle) for middle, end in zip(middles, ends, strict=True)]
    below = [max(middle - low, 0.0) for middle, (low, _) in zip(middles, pairs, strict=True)]
    above = [max(high - middle, 0.0) for middle, (_, high) in zip(middles, pairs, strict=True)]
    return below, above


def _top_ms(drawing: Drawing) -> float:
    seen = [drawing.objective_ms, drawing.best.latency_ms, drawing.start.latency_ms]
    seen += [spot.latency_ms for spot in drawing.front]
    wanted = _BEYOND * max(each for each in seen if math.isfinite(each))
    latest = max((s.latency_ms for s in drawing.tried if math.isfinite(s.latency_ms)), default=0.0)
    anyone_never = any(math.isinf(spot.latency_ms) for spot in drawing.tried)
    return wanted if anyone_never else min(wanted, max(1.08 * latest, 1.08 * max(seen)))
