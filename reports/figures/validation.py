"""Simulated against real: errors beside the machine's own noise, and whole distributions."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reports.figures.style import GRID, INK, MUTED, Sheet, color
from reports.validation import COMPARED, Sample, Validation

_SIZE = {"predicted": "o", "replayed": "D"}


def errors(validation: Validation) -> str:
    """For each scenario and statistic the errors, on a band as wide as the repeat's own error."""
    scenarios = validation.scenarios
    rows = range(len(scenarios))
    with Sheet(10, 1.3 + 0.34 * len(scenarios), columns=len(COMPARED)) as sheet:
        for axes, statistic in zip(sheet.axes, COMPARED, strict=True):
            axes.set_title(statistic)
            for row, scenario in enumerate(scenarios):
                repeat = scenario.errors_pct("repeat")[statistic]
                if repeat is not None:
                    axes.barh(row, 2 * abs(repeat), 0.62, left=-abs(repeat), color=GRID)
                for index, (source, marker) in enumerate(_SIZE.items()):
                    error = scenario.errors_pct(source)[statistic]
                    if error is not None:
                        axes.plot(error, row, marker, color=color(index), markersize=6.5 - index)
            axes.axvline(0, color=MUTED, linewidth=1)
            axes.set_ylim(len(scenarios) - 0.5, -0.5)
            axes.grid(axis="y", visible=False)
            axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
            axes.xaxis.set_major_formatter(_signed)
            axes.tick_params(axis="y", length=0, labelcolor=INK)
            first = axes is sheet.axes[0]
            axes.set_yticks(rows, [each.name for each in scenarios] if first else [""] * len(rows))
        reach = max([1.0, *(abs(limit) for axes in sheet.axes for limit in axes.get_xlim())])
        for axes in sheet.axes:
            axes.set_xlim(-reach, reach)
        handles = [
            *(
                sheet.axes[0].plot([], [], marker, color=color(index), label=source)[0]
                for index, (source, marker) in enumerate(_SIZE.items())
            ),
            sheet.axes[0].barh([0], [0], color=GRID, label="a second real run differs by so much"),
        ]
        sheet.figure.legend(handles=handles, loc="outside lower left", ncols=3)
        return sheet.svg("Errors of predictions and replays against real runs, by scenario")


def _signed(error: float, _: float) -> str:
    return f"{error:+g}%" if error else "0"


def quantiles(panels: Sequence[tuple[str, Sample, Sequence[tuple[str, Sample]]]]) -> str:
    """One panel for each (title, real, others): percentiles of latency against the real ones.

    On the diagonal both agree; above it the other is slower.
    """
    shown = [panel for panel in panels if panel[1].quantiles_ms]
    columns = min(max(len(shown), 2), 4)
    rows = max(1, -(-len(shown) // columns))
    with Sheet(10, 2.75 * rows, columns=columns, rows=rows) as sheet:
        for axes, (title, real, others) in zip(sheet.axes, shown, strict=False):
            _quantile_panel(axes, title, real, others)
        for axes in sheet.axes[len(shown) :]:
            axes.set_axis_off()
        return sheet.svg("Percentiles of latency, simulated against real")


def _quantile_panel(
    axes: Axes, title: str, real: Sample, others: Sequence[tuple[str, Sample]]
) -> None:
    axes.set_title(title)
    for index, (name, other) in enumerate(others):
        if other.quantiles_ms:
            axes.plot(
                real.quantiles_ms,
                other.quantiles_ms,
                "oDs^"[index % 4],
                color=color(index),
                markersize=4,
                label=name,
            )
    low = min(axes.get_xlim()[0], axes.get_ylim()[0])
    high = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1, zorder=1)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("real, ms")
    axes.set_ylabel("simulated, ms")
    axes.legend(loc="upper left", handletextpad=0.2)
