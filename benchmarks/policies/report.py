"""The table, as rows of JSON and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.policies.study import Outcome, ratio

COLUMNS = ("greedy", "delay", "cap", "pair", "pair, one rate", "caps", "tuned", "cadence")
WIDTH = 170
CAPTION = """\
Goodput: the highest rate at which 99% of the requests meet the objective, as a share of capacity at batch
64; knobs chosen on one seed, means over four fresh ones. All settings but "one rate" also meet it at
lighter loads. delay: one hold for all stages, cap 64. cap: one cap, no hold. pair: one hold and one cap.
caps, tuned: by stage, without and with holds. bound: what no policy can pass (affine chains). cadence is
untuned; "unsafe at": lighter loads at which more than 1% were late on a fresh seed."""


def row_of(outcome: Outcome) -> dict[str, Any]:
    """What is kept of a regime."""
    return {
        "regime": outcome.regime.name,
        "group": outcome.regime.group,
        **_compared(outcome.scores),
        "chosen": {name: each.text for name, each in outcome.chosen.items() if each.text},
        "unsafe_loads": outcome.unsafe,
        "cost_at_15_percent": _costs(outcome),
        "bound": round(outcome.bound, 4) or None,
    }


def renewed(row: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """A kept row with the outcome of cadence alone in place of what it had of that."""
    costs = _costs(outcome)
    return {
        **row,
        **_compared({**row["by_seed"], **outcome.scores}),
        "unsafe_loads": outcome.unsafe,
        "cost_at_15_percent": {**row["cost_at_15_percent"], **costs},
    }


def _compared(scores: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    found = {name: ratio(scores["cadence"], scores[name]) for name in COLUMNS[:-1]}
    return {
        "goodput": {name: round(fmean(scores[name]), 4) for name in COLUMNS},
        "by_seed": {name: [round(value, 4) for value in scores[name]] for name in COLUMNS},
        "cadence_over": {
            name: [round(value, 4) for value in (each.estimate, each.low, each.high)]
            for name, each in found.items()
        },
    }


def _costs(outcome: Outcome) -> dict[str, Any]:
    return {
        name: {"device_us": round(each.device_us, 1), "p99_over_objective": round(each.tail, 3)}
        for name, each in outcome.costs.items()
        if each.tail < float("inf")
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    console = Console(width=None if Console().is_terminal else WIDTH)
    table = Table(title=CAPTION, title_justify="left", title_style="")
    table.add_column("regime", ratio=1)
    for name in (*COLUMNS, "bound"):
        table.add_column(name, justify="right")
    table.add_column("over pair", justify="right", no_wrap=True)
    table.add_column("over tuned", justify="right", no_wrap=True)
    table.add_column("unsafe at")
    for row in rows:
        table.add_row(
            row["regime"],
            *(_share(row["goodput"][name]) for name in COLUMNS),
            _share(row["bound"]),
            _interval(row["cadence_over"]["pair"]),
            _interval(row["cadence_over"]["tuned"]),
            " ".join(f"{load:g}" for load in row["unsafe_loads"]),
        )
    console.print(table)
    costs = Table(
        title="Device time a request at 15% of capacity, us (p99 over objective)", title_style=""
    )
    names = list(rows[0]["cost_at_15_percent"]) if rows else []
    for name in ("regime", *names):
        costs.add_column(name, justify="left" if name == "regime" else "right")
    for row in rows:
        each = row["cost_at_15_percent"]
        cells = (
            f"{each[n]['device_us']:.0f} ({each[n]['p99_over_objective']:.2f})" if n in each else ""
            for n in names
        )
        costs.add_row(row["regime"], *cells)
    console.print(costs)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".removeprefix("0")


def _interval(values: Sequence[float]) -> str:
    estimate, low, high = values
    return f"{estimate:.2f} [{low:.2f} {high:.2f}]"
