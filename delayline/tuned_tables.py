"""The outcome of tuning as tables and as a figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from configs.atomic import write_bytes
from delayline.tables import number, plain_table
from delayline.tuned import Tuned, cost_number
from reports.figures.tuning import Drawing, Spot, draw
from reports.numbers import NONE
from sim.statistics import Interval
from sim.tuning.score import Figures


def print_tuned(console: Console, tuned: Tuned) -> None:
    """The settings and figures, start and best side by side; with several goals the front."""
    before, after = tuned.start_figures, tuned.figures
    console.print(f"{tuned.config.name}: {_asked(tuned)}")
    console.print()
    table = plain_table("", "start", "best")
    for name, *cells in _knobs(tuned):
        table.add_row(name, *cells)
    percentile = f"p{tuned.objective.percentile:g} latency, ms"
    table.add_row(percentile, number(before.latency_ms), number(after.latency_ms))
    costs = (cost_number(tuned, before.cost), cost_number(tuned, after.cost))
    table.add_row(tuned.search.cost.label, *costs)
    if "quality" in tuned.search.goals:
        table.add_row("share of NDCG@10 lost", number(before.lost), number(after.lost))
    if before.unanswered or after.unanswered:
        table.add_row("share not answered", number(before.unanswered), number(after.unanswered))
    console.print(table)
    console.print()
    if tuned.confirmation is not None and tuned.confirmation.front:
        _print_front(console, tuned)
    console.print(tuned.told(), soft_wrap=True)


def write_figure(path: Path, tuned: Tuned) -> None:
    """Draw cost against latency into a file, by the kind of its suffix. Raises OSError."""
    found = tuned.confirmation
    tried = [
        _spot(trial.figures)
        for trial in tuned.trials
        if trial.figures is not None and trial.part == 1
    ]
    front = found.front if found else ()
    drawing = Drawing(
        tried=tried,
        front=[
            Spot(
                point.figures.latency_ms,
                point.figures.cost,
                (point.latency_ms.low, point.latency_ms.high),
                (point.cost.low, point.cost.high),
            )
            for point in front
        ],
        start=_spot(tuned.start_figures),
        best=_spot(tuned.figures),
        objective_ms=tuned.objective.latency_ns / 1e6,
        latency=f"p{tuned.objective.percentile:g} latency, ms",
        cost=tuned.search.cost.label,
    )
    write_bytes(path, draw(drawing, path.suffix[1:].lower()))


def _asked(tuned: Tuned) -> str:
    goals = f" ({_and(tuned.search.goals)} by themselves)" if tuned.search.goals else ""
    short = f", {tuned.cut_short} of them cut short" if tuned.cut_short else ""
    refused = f", {tuned.refused} refused" if tuned.refused else ""
    return f"{tuned.goal()}{goals}, {len(tuned.trials)} trials{short}{refused}"


def _and(names: Sequence[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def _knobs(tuned: Tuned) -> Iterator[tuple[str, str, str]]:
    start = tuned.space.shown(tuned.trials[0].setting)
    best = tuned.space.shown(tuned.chosen.setting)
    for knob in tuned.space.knobs:
        if knob.path in start or knob.path in best:
            yield knob.path, _cell(start.get(knob.path)), _cell(best.get(knob.path))


def _cell(value: object) -> str:
    """A value; a kind in one line."""
    if isinstance(value, dict):
        kind, *rest = value.items()
        return " ".join([str(kind[1]), *(f"{key}={inner}" for key, inner in rest)])
    return NONE if value is None else str(value)


def _print_front(console: Console, tuned: Tuned) -> None:
    if tuned.confirmation is None:
        return
    judged = "quality" in tuned.search.goals
    cost = (
        tuned.search.cost.label.replace("seconds per", "seconds\nper")
        if judged
        else tuned.search.cost.label
    )
    table = plain_table(
        "trial",
        f"p{tuned.objective.percentile:g}, ms",
        "±",
        cost,
        "±",
        *(("NDCG@10\nlost", "±") if judged else ()),
        "",
    )
    for point in tuned.confirmation.front:
        chosen = "chosen" if point.trial is tuned.chosen else ""
        table.add_row(
            str(point.trial.number),
            number(point.figures.latency_ms),
            _half(point.latency_ms),
            cost_number(tuned, point.figures.cost),
            _half(point.cost),
            *((number(point.figures.lost), _half(point.lost)) if judged else ()),
            chosen,
        )
    count = len(tuned.confirmation.front)
    both = "both" if len(tuned.search.goals) == 2 else "all"
    console.print(f"front: {count} trials that no other is better than in {both}")
    console.print(table)
    console.print()


def _half(found: Interval) -> str:
    return number(found.half_width)


def _spot(figures: Figures) -> Spot:
    return Spot(figures.latency_ms if math.isfinite(figures.latency_ms) else math.inf, figures.cost)
