"""How latency is distributed, run against run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from policies.runlog import Int64
from reports.figures.style import GOAL, MUTED, Sheet, color, dash, nothing_to_show
from reports.percentiles import NS_PER_MS

_POINTS = 300


@dataclass(frozen=True, slots=True)
class Curve:
    """A run's latencies (n,), not in order, and its name."""

    name: str
    latencies_ns: Int64


def latency(curves: Sequence[Curve], objective_ms: float | None = None) -> str:
    """Two panels over latency: the share answered by then, and on a log scale the share that is not."""
    shown = [curve for curve in curves if len(curve.latencies_ns)]
    with Sheet(10, 3.5, columns=2) as sheet:
        body, tail = sheet.axes
        body.set_title("Answered within")
        tail.set_title("Still waiting (log scale)")
        if not shown:
            for axes in sheet.axes:
                nothing_to_show(axes, "no request was completed")
            return sheet.svg("Latency: no request was completed")
        for index, curve in enumerate(shown):
            ordered = np.sort(curve.latencies_ns) / NS_PER_MS
            count = len(ordered)
            shade, line = color(index), dash(index)
            ranks = np.unique(np.linspace(0, count - 1, _POINTS).astype(np.int64))
            body.step(
                ordered[ranks], (ranks + 1) / count * 100, where="post", color=shade, linestyle=line
            )
            late = _tail_ranks(count)
            tail.step(
                ordered[late],
                (count - late) / count * 100,
                where="pre",
                color=shade,
                linestyle=line,
            )
        _limits(sheet, shown, objective_ms)
        tail.set_yscale("log")
        tail.set_yticks([100, 10, 1, 0.1, 0.01], ["100%", "10%", "1%", "0.1%", "0.01%"])
        tail.minorticks_off()
        fewest = min(100 / len(curve.latencies_ns) for curve in shown)
        tail.set_ylim(max(fewest, 0.005) * 0.8, 130)
        body.set_ylim(0, 103)
        body.set_yticks([0, 25, 50, 75, 100], ["0%", "25%", "50%", "75%", "100%"])
        for axes in sheet.axes:
            axes.set_xlabel("latency, ms")
        if len(shown) > 1:
            top = np.linspace(0.3, 0.3 - 0.08 * (len(shown) - 1), len(shown))
            for index, (curve, height) in enumerate(zip(shown, top, strict=True)):
                body.text(
                    0.985,
                    height,
                    curve.name,
                    color=color(index),
                    ha="right",
                    fontweight="bold",
                    transform=body.transAxes,
                )
        return sheet.svg("Distribution of latency: share answered within a time, and its tail")


def _tail_ranks(count: int) -> Int64:
    """Ranks that lie evenly on a log scale of the share above them."""
    above = np.unique(np.geomspace(1, count, _POINTS).astype(np.int64))
    return count - above[::-1]


def _limits(sheet: Sheet, shown: Sequence[Curve], objective_ms: float | None) -> None:
    """The body to where all but a few are answered, the tail to the end; the objective in both."""
    body, tail = sheet.axes
    bulk = max(float(np.quantile(curve.latencies_ns, 0.995)) for curve in shown) / NS_PER_MS
    longest = max(int(curve.latencies_ns.max()) for curve in shown) / NS_PER_MS
    for axes, end in ((body, bulk), (tail, longest)):
        end = max(end, objective_ms or 0.0, 1e-6) * 1.06
        axes.set_xlim(0, end)
        if objective_ms is None:
            continue
        axes.axvline(objective_ms, color=GOAL, linewidth=1.2, linestyle=(0, (4, 3)))
        near_end = objective_ms > 0.7 * end
        axes.annotate(
            f"objective {objective_ms:g} ms",
            (objective_ms, 0.5 if axes is body else 0.93),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if near_end else 5, 0),
            textcoords="offset points",
            ha="right" if near_end else "left",
            color=GOAL,
            fontsize=9,
        )


def batch_sizes(stages: Sequence[tuple[str, int, Sequence[tuple[int, int]]]]) -> str:
    """For each stage (name, max_batch, (size, count) pairs): the share of its batches by size."""
    rows = max(1, -(-len(stages) // 5))
    columns = max(1, -(-len(stages) // rows))
    with Sheet(10, 2.3 * rows, columns=columns, rows=rows) as sheet:
        for axes, (name, max_batch, sizes) in zip(sheet.axes, stages, strict=False):
            axes.set_title(name)
            axes.grid(axis="x", visible=False)
            if not sizes:
                nothing_to_show(axes, "no batch")
                continue
            size, count = np.array(sizes, np.float64).T
            share = count / count.sum() * 100
            width, starts, heights = _bars(size, share, max_batch)
            axes.bar(starts, heights, width=width * 0.86, color=color(0), linewidth=0)
            mean = float((size * count).sum() / count.sum())
            axes.axvline(mean, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            right = mean > 0.55 * max_batch
            axes.annotate(
                f"mean {mean:.1f}",
                (mean, 0.97),
                xycoords=("data", "axes fraction"),
                xytext=(-4 if right else 4, 0),
                textcoords="offset points",
                ha="right" if right else "left",
                va="top",
                color=MUTED,
                fontsize=9,
            )
            axes.set_xlim(0.5 - width / 2, max_batch + 0.5 + width / 2)
            axes.set_ylim(0, float(heights.max()) * 1.2)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_xlabel("requests in a batch")
            axes.yaxis.set_major_formatter("{x:.0f}%")
        for axes in sheet.axes[len(stages) :]:
            axes.set_axis_off()
        return sheet.svg("Batch sizes by stage, as shares of the stage's batches")


def _bars(
    size: NDArray[np.float64], share: NDArray[np.float64], max_batch: int
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Width, middles and heights of at most 64 bars: one a size, or one for several in a row."""
    step = max(1, -(-max_batch // 64))
    group = ((size - 1) // step).astype(np.int64)
    heights = np.bincount(group, share).astype(np.float64)
    middles = np.arange(len(heights), dtype=np.float64) * step + (step + 1) / 2
    return float(step), middles, heights
