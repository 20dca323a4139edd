"""The figures of plans side by side: a row for each plan, a point for each load; quality against cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from reports.figures.style import GOAL, INK, MUTED, Sheet, color
from reports.numbers import percent
from reports.plan_rows import Outcome, Served

_PANELS: tuple[tuple[str, Callable[[Outcome], float | None], bool], ...] = (
    ("p99, ms", lambda run: run.p99_ms, True),
    ("in time, %", lambda run: 100 * run.within, False),
    ("device time, s per 1,000", lambda run: run.busy_s_per_1000, True),
)
_APART = 0.18
_MARKS = ("o", "s", "D", "^", "v", "P")


def points(rows: Sequence[Served], goal_ms: float) -> str:
    """Each plan's p99, share in time and device time, at each load, as SVG text."""
    with _Points(rows, goal_ms) as sheet:
        return sheet.svg("p99, share in time and device time of each plan at each load")


def draw(rows: Sequence[Served], goal_ms: float, kind: str) -> bytes:
    """The same as a file: ``svg``, ``png`` or ``pdf``."""
    with _Points(rows, goal_ms) as sheet:
        return sheet.file(kind)


class _Points(Sheet):
    """A panel for each figure, all with the same rows."""

    def __init__(self, rows: Sequence[Served], goal_ms: float) -> None:
        self._rows, self._goal_ms = rows, goal_ms
        self._plans = list(dict.fromkeys(row.plan for row in rows))
        super().__init__(9.2, 1.2 + 0.3 * len(self._plans), columns=len(_PANELS))

    def __enter__(self) -> Sheet:
        super().__enter__()
        loads = sorted({row.load for row in self._rows})
        for axes, (title, value, log) in zip(self.axes, _PANELS, strict=True):
            axes.set_title(title)
            for number, load in enumerate(loads):
                self._mark(axes, load, value, number)
            if log:
                _log(axes)
            _rows(axes, self._plans, named=axes is self.axes[0])
        self.axes[0].axvline(self._goal_ms, color=GOAL, linewidth=1.2)
        _legend(self, loads)
        return self

    def _mark(
        self, axes: Axes, load: float, value: Callable[[Outcome], float | None], number: int
    ) -> None:
        here = [row for row in self._rows if row.load == load]
        # A little apart, so that none covers another.
        known = [
            (x, self._plans.index(row.plan) + _APART * (number - 1))
            for row in here
            if (x := row.mean(value)) is not None
        ]
        axes.plot(
            [x for x, _ in known],
            [y for _, y in known],
            _MARKS[number % len(_MARKS)],
            color=color(number),
            markersize=5,
            alpha=0.9,
            linestyle="none",
        )


def _rows(axes: Axes, plans: Sequence[str], *, named: bool) -> None:
    axes.set_ylim(len(plans) - 0.5, -0.5)
    axes.set_yticks(range(len(plans)), plans if named else [""] * len(plans))
    axes.tick_params(axis="y", labelcolor=INK)


def _log(axes: Axes) -> None:
    """A log scale with plain numbers, at 1, 2 and 5 of each decade."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _legend(sheet: Sheet, loads: Sequence[float]) -> None:
    marks = [
        Line2D([], [], color=color(k), marker=_MARKS[k % len(_MARKS)], linestyle="none")
        for k in range(len(loads))
    ]
    texts = [f"{percent(load)} of the capacity" for load in loads]
    goal = Line2D([], [], color=GOAL, linewidth=1.2)
    sheet.figure.legend(
        [*marks, goal],
        [*texts, "objective"],
        loc="outside lower center",
        ncols=len(loads) + 1,
        labelcolor=INK,
    )


def quality(rows: Sequence[Served]) -> str:
    """NDCG@10 of each plan over its device time, one panel for each load, as SVG text."""
    loads = sorted({row.load for row in rows})
    plans = list(dict.fromkeys(row.plan for row in rows))
    with Sheet(9.2, 3.4, columns=len(loads)) as sheet:
        for axes, load in zip(sheet.axes, loads, strict=True):
            axes.set_title(f"{percent(load)} of the capacity")
            _log(axes)
            axes.set_xlabel("device time, s per 1,000")
            for row in rows:
                cost, ndcg = row.mean(_PANELS[2][1]), row.mean(ndcg_of)
                if row.load == load and cost is not None and ndcg is not None:
                    axes.plot([cost], [ndcg], "o", color=color(plans.index(row.plan)), markersize=6)
                    axes.annotate(
                        row.plan,
                        (cost, ndcg),
                        xytext=(4, 4),
                        textcoords="offset points",
                        fontsize=8,
                        color=MUTED,
                    )
        sheet.axes[0].set_ylabel("NDCG@10")
        return sheet.svg("NDCG@10 of each plan over its device time")


def ndcg_of(run: Outcome) -> float | None:
    """NDCG@10 of a run, where it is known."""
    return None if run.judged is None else run.judged.ndcg
