"""Where the time goes by stage, and how a run went over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from reports.breakdown import PARTS, Breakdown
from reports.figures import style
from reports.figures.style import GRID, INK, MUTED, Sheet, color, dash, end_labels
from reports.timeline import Floats, Timeline

_PART_NAMES = {
    "merge": "waiting for other branches",
    "hold": "held for a batch",
    "wait": "waiting for a replica or slot",
    "service": "being served",
}


def breakdown(everyone: Breakdown, slowest: Breakdown, reach: Sequence[float] = (0.0, 0.0)) -> str:
    """Stacked bars of mean time by stage: over all requests, and over the slowest 1%.

    Each axis goes at least as far as ``reach`` (milliseconds), so that figures can be compared.
    """
    stages = len(everyone.stages)
    with Sheet(10, 1.25 + 0.36 * stages, columns=2) as sheet:
        panels = (
            (f"All requests ({everyone.requests:,})", everyone),
            (f"Slowest 1% ({slowest.requests:,})", slowest),
        )
        used = [
            part
            for part in PARTS
            if any(stage.get(part) > 0 for _, group in panels for stage in group.stages)
        ]
        for axes, (title, group), end in zip(sheet.axes, panels, reach, strict=True):
            axes.set_title(title)
            _bars(axes, group, used, max(end, group.longest) or 1.0)
        handles = [
            sheet.axes[0].barh([0], [0], color=style.PARTS[part], label=_PART_NAMES[part])
            for part in used
        ]
        if handles:
            sheet.figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))
        return sheet.svg("Mean time at each stage, split into waiting and service")


def _bars(axes: Axes, group: Breakdown, used: Sequence[str], end: float) -> None:
    rows = np.arange(len(group.stages))
    left = np.zeros(len(rows))
    for part in used:
        length = np.array([stage.get(part) for stage in group.stages])
        axes.barh(rows, length, 0.62, left=left, color=style.PARTS[part], linewidth=0)
        left += length
    for row, total in enumerate(left.tolist()):
        axes.text(total + 0.012 * end, row, f"{total:.3g} ms", va="center", color=INK, fontsize=9)
    axes.set_xlim(0, end * 1.18)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(rows, [stage.name for stage in group.stages])
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("mean time, ms")


def over_time(line: Timeline) -> str:
    """Panels over one time axis: arrivals, queue lengths, waits, holds, utilization; levels, where a stage
    degrades; replicas, where they come and go; and quality, where it is predicted.
    """
    scaled = [index for index, stage in enumerate(line.stages) if stage.replicas is not None]
    degraded = [index for index, stage in enumerate(line.stages) if stage.level is not None]
    rows = 5 + bool(scaled) + bool(degraded) + (line.ndcg is not None)
    with Sheet(10, 1.84 * rows, rows=rows) as sheet:
        arrivals, *others = sheet.axes
        if line.ndcg is not None:
            axes = others.pop()
            axes.set_title("NDCG@10 of the answers, as predicted by how they were served")
            axes.plot(line.bins.middle_s, line.ndcg, color=INK, linewidth=1.4)
            axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
        if scaled:
            _replicas(others.pop(), line, scaled)
        if degraded:
            _levels(others.pop(), line, degraded)
        time = line.bins.middle_s
        arrivals.set_title("Arrival rate, requests/s")
        arrivals.fill_between(time, line.arrival_rate_hz, color=GRID, linewidth=0)
        arrivals.plot(time, line.arrival_rate_hz, color=MUTED, linewidth=1.2)
        busy = "Replicas busy" + ("; dotted: slots of a device" if line.devices else "")
        panels: tuple[tuple[str, list[Floats]], ...] = (
            ("Requests in the queue, mean", [stage.queue_length for stage in line.stages]),
            ("Time in the queue, ms, by when it ended", [stage.queue_ms for stage in line.stages]),
            ("Of it, held for a batch, ms", [stage.hold_ms for stage in line.stages]),
            (busy, [stage.utilization for stage in line.stages]),
        )
        for axes, (title, columns) in zip(others, panels, strict=True):
            axes.set_title(title)
            for index, column in enumerate(columns):
                axes.plot(time, column, color=color(index), linestyle=dash(index), linewidth=1.4)
        for _, share in line.devices:
            others[-1].plot(time, share, color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)))
        for axes in sheet.axes:
            axes.set_xlim(0, float(line.bins.edges_ns[-1]) / 1e9)
            axes.set_ylim(0, max(axes.get_ylim()[1], 1e-9))
            if axes is not sheet.axes[-1]:
                axes.tick_params(labelbottom=False)
        others[-1].set_ylim(0, 1.05)
        others[-1].set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
        sheet.axes[-1].set_xlabel("time, s")
        for axes, (_, columns) in zip(others, panels, strict=True):
            devices = line.devices if axes is others[-1] else ()
            _name_lines(axes, line, columns, devices)
        return sheet.svg("Arrival rate, queues, waits, holds and utilization over time, by stage")


def _levels(axes: Axes, line: Timeline, degraded: Sequence[int]) -> None:
    """How far stages are degraded."""
    axes.set_title("Degradation level of what leaves the queue, mean; 0 is full service")
    shown = [(index, line.stages[index].level) for index in degraded]
    labels = []
    for index, column in shown:
        if column is None or not np.isfinite(column).any():
            continue
        axes.plot(
            line.bins.middle_s, column, color=color(index), linestyle=dash(index), linewidth=1.4
        )
        last = float(column[np.isfinite(column)][-1])
        labels.append((last, line.stages[index].name, color(index)))
    axes.set_ylim(0, max(1.05 * axes.get_ylim()[1], 1.05))
    end_labels(axes, labels, gap=0.16)


def _replicas(axes: Axes, line: Timeline, scaled: Sequence[int]) -> None:
    """How many replicas serve, and how many are paid for, of the stages where that changes."""
    axes.set_title("Replicas that serve; dotted: paid for, with those that start")
    labels = []
    for index in scaled:
        stage = line.stages[index]
        if stage.replicas is None or stage.paid is None:
            continue
        kinds = ((stage.paid, 1.0, (0, (1, 1.5))), (stage.replicas, 1.4, dash(index)))
        for column, width, dashes in kinds:
            axes.plot(
                line.bins.middle_s, column, color=color(index), linewidth=width, linestyle=dashes
            )
        labels.append((float(stage.replicas[-1]), stage.name, color(index)))
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    end_labels(axes, labels, gap=0.16)


def _name_lines(
    axes: Axes, line: Timeline, columns: Sequence[Floats], devices: Sequence[tuple[str, Floats]]
) -> None:
    """The name of each stage and device beside the end of its line."""
    lines = [
        *(
            (stage.name, column, color(index))
            for index, (stage, column) in enumerate(zip(line.stages, columns, strict=True))
        ),
        *((name, column, MUTED) for name, column in devices),
    ]
    ends = [(column[np.isfinite(column)], name, shade) for name, column, shade in lines]
    labels = [(float(seen[-1]), name, shade) for seen, name, shade in ends if len(seen)]
    end_labels(axes, labels, gap=0.16)
