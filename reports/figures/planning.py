"""What a plan costs and bears: cost against latency, latency against the rate, and the hours of a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reports.figures.style import GOAL, GROUND, INK, MUTED, Sheet, color, end_labels

_ROOM = 1.25
"""How far beyond the objective a latency axis goes, in objectives."""
_DEAREST = 1.5
"""Times the dearest verified plan beyond which what was tried is of no interest."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A plan: what it costs and its latency, with the ends of its interval where it was verified."""

    cost: float
    latency_ms: float
    low_ms: float | None = None
    high_ms: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """An hour of the day: its rate, and what its replicas cost."""

    rate_hz: float
    cost: float


def cost_against_latency(
    tried: Sequence[Spot], verified: Sequence[Spot], objective_ms: float, latency: str, cost: str
) -> str:
    """Every plan that was tried, by a short run; those verified, the first of them chosen, by their
    intervals. ``latency`` and ``cost`` are the axes' labels. Plans far beyond the objective lie at the
    edge, far dearer ones are left out.
    """
    with Sheet(10, 3.8) as sheet:
        (axes,) = sheet.axes
        axes.set_title("What plans cost, and what they reach")
        top = 2 * objective_ms
        dearest = _DEAREST * max(spot.cost for spot in verified)
        tried = [spot for spot in tried if spot.cost <= dearest]
        inside = [spot for spot in tried if spot.latency_ms <= top]
        beyond = [spot for spot in tried if spot.latency_ms > top]
        axes.plot(
            [spot.cost for spot in inside],
            [spot.latency_ms for spot in inside],
            "o",
            color=MUTED,
            markersize=4.5,
            alpha=0.55,
            markeredgewidth=0,
            label="tried",
        )
        if beyond:
            axes.plot(
                [spot.cost for spot in beyond],
                [top * 0.985] * len(beyond),
                "^",
                color=MUTED,
                markersize=5,
                alpha=0.55,
                markeredgewidth=0,
                label="tried, later than shown or overloaded",
            )
        for index, spot in reversed(list(enumerate(verified))):
            _verified(axes, spot, "chosen" if index == 0 else "runner-up", color(2 if index else 0))
        costs = [spot.cost for spot in (*tried, *verified)]
        room = 0.06 * (max(costs) - min(costs) or 1.0)
        axes.set_xlim(min(costs) - room, max(costs) + room)
        axes.set_ylim(0, top)
        axes.set_xlabel(cost)
        axes.set_ylabel(latency)
        if all(each == int(each) for each in costs):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _objective(axes, objective_ms, right=True)
        handles, labels = axes.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        sheet.figure.legend(once.values(), once.keys(), loc="outside lower left", ncols=len(once))
        return sheet.svg("Cost of plans against their latency, with the objective")


def _verified(axes: Axes, spot: Spot, label: str, shade: str) -> None:
    size = 8 if label == "chosen" else 6
    if spot.low_ms is not None and spot.high_ms is not None:
        axes.plot([spot.cost] * 2, [spot.low_ms, spot.high_ms], color=shade, linewidth=2.2)
    axes.plot(
        [spot.cost], [spot.latency_ms], "D", color=shade, markersize=size, label=label,
        markeredgecolor=GROUND, markeredgewidth=0.8,
    )  # fmt: skip


def latency_against_rate(
    curve: Sequence[tuple[float, float, float, float]],
    planned_hz: float,
    highest_hz: float,
    objective_ms: float,
    latency: str,
) -> str:
    """The chosen plan at other rates: (rate, estimate, low, high) by rate, in 1/s and milliseconds."""
    rates, middles, lows, highs = (list(column) for column in zip(*curve, strict=True))
    with Sheet(10, 3.4) as sheet:
        (axes,) = sheet.axes
        axes.set_title("The plan under more and less traffic")
        axes.fill_between(rates, lows, highs, color=color(0), alpha=0.2, linewidth=0)
        axes.plot(rates, middles, color=color(0), marker="o", markersize=3.5)
        axes.set_ylim(0, _ROOM * objective_ms)
        end_hz = max(rates[-1], highest_hz) * 1.04
        axes.set_xlim(0, end_hz)
        axes.set_xlabel("requests/s")
        axes.set_ylabel(latency)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        _objective(axes, objective_ms)
        ground = {"facecolor": GROUND, "linewidth": 0, "pad": 1.5}
        for rate_hz, text, height in (
            (planned_hz, f"planned {planned_hz:,.0f}/s", 0.16),
            (highest_hz, f"bears {highest_hz:,.0f}/s", 0.05),
        ):
            axes.axvline(rate_hz, color=INK, linewidth=1, linestyle=(0, (2, 2)))
            axes.annotate(
                text, (rate_hz, height), xycoords=("data", "axes fraction"), xytext=(-5, 0),
                textcoords="offset points", ha="right" if rate_hz > 0.2 * end_hz else "left",
                color=INK, fontsize=9, bbox=ground,
            )  # fmt: skip
        return sheet.svg("Latency of the plan against the rate, with the objective")


def day(hours: Sequence[Step], static_cost: float, cost: str) -> str:
    """Rate by hour over the cost of the schedule, beside that of the static plan."""
    edges = range(len(hours) + 1)
    with Sheet(10, 4.2, rows=2) as sheet:
        above, below = sheet.axes
        above.set_title("Highest rate in the hour, requests/s")
        above.stairs([hour.rate_hz for hour in hours], edges, color=MUTED, fill=True, alpha=0.35)
        above.yaxis.set_major_formatter("{x:,.0f}")
        above.tick_params(labelbottom=False)
        below.set_title(f"{cost[:1].upper()}{cost[1:]}")
        below.stairs([h.cost for h in hours], edges, baseline=None, color=color(2), linewidth=2)
        below.axhline(static_cost, color=color(0), linewidth=1.6, linestyle=(0, (4, 3)))
        below.set_xlabel("hour")
        for axes in sheet.axes:
            axes.set_xlim(0, len(hours))
            axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        below.set_ylim(0, static_cost * 1.15)
        above.set_ylim(0, max(hour.rate_hz for hour in hours) * 1.1)
        labels = [(static_cost, "always", color(0)), (hours[-1].cost, "by hour", color(2))]
        end_labels(below, labels, gap=0.13)
        return sheet.svg("Rate and cost by hour, scheduled and static")


def _objective(axes: Axes, objective_ms: float, *, right: bool = False) -> None:
    axes.axhline(objective_ms, color=GOAL, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate(
        f"objective {objective_ms:g} ms", (0.994 if right else 0.006, objective_ms),
        xycoords=("axes fraction", "data"), xytext=(0, 4), textcoords="offset points",
        ha="right" if right else "left", color=GOAL, fontsize=9,
    )  # fmt: skip
