"""The settings of a sweep, each with one figure over its replications."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from reports.confidence import Estimate, over_replications
from reports.sweep_table import Cell, finite

_UNITS = {"_ms": "ms", "_hz": "1/s", "_per_hour": "1/h", "_rps": "1/s"}
_MORE_IS_BETTER = ("throughput_rps", "goodput_rps", "completed")


@dataclass(frozen=True, slots=True)
class Point:
    """One setting."""

    setting: int
    cells: tuple[Cell, ...]
    """The values of the knobs, in the order of their columns."""
    figure: Estimate | None
    """The metric over replications; None where a run has none, or was refused."""
    reached: Estimate | None
    """Latency at the objective's percentile, infinite where too many got no answer; None where there
    is no objective.
    """
    busy_s_per_1000: float | None
    reason: str
    """Why it was refused; empty where it was not."""

    def met(self, objective_ms: float) -> bool:
        """Whether its mean latency at the percentile lies within the objective."""
        return self.reached is not None and self.reached.value <= objective_ms


def points(table: pa.Table, knobs: Sequence[str], metric: str) -> list[Point]:
    """The settings of a table in their order. ``knobs`` and ``metric`` are names of columns."""
    wanted = ["setting", *knobs, "reason", "reached_ms", "busy_s_per_1000", metric]
    by_setting: dict[int, list[Mapping[str, Cell]]] = {}
    for row in table.select(list(dict.fromkeys(wanted))).to_pylist():
        by_setting.setdefault(row["setting"], []).append(row)
    return [_point(number, rows, knobs, metric) for number, rows in by_setting.items()]


def ordered(
    found: Sequence[Point], metric: str, objective_ms: float | None
) -> list[tuple[Point, Estimate]]:
    """Those that have a figure, best first.

    With an objective: those that meet it by what they cost, before those that do not by how far they
    are from it. Without: by the figure, the least first unless more is better.
    """
    sign = -1 if metric in _MORE_IS_BETTER else 1

    def order(each: tuple[Point, Estimate]) -> tuple[float, ...]:
        point, figure = each
        if objective_ms is None:
            return sign * figure.value, point.setting
        reached = math.inf if point.reached is None else point.reached.value
        cost = math.inf if point.busy_s_per_1000 is None else point.busy_s_per_1000
        if point.met(objective_ms):
            return 0, cost, reached, point.setting
        return 1, reached, cost, point.setting

    return sorted(((p, p.figure) for p in found if p.figure is not None), key=order)


def label(column: str) -> str:
    """A column's name as a reader takes it in: ``rank.policy.delay, ms``."""
    for prefix in ("stages.", "workload."):
        column = column.removeprefix(prefix)
    for suffix, unit in _UNITS.items():
        if column.endswith(suffix):
            name = column.removesuffix(suffix)
            return f"{name.replace('latency_', 'latency ').replace('p999', 'p99.9')}, {unit}"
    return column.replace("busy_s_per_1000", "busy seconds per 1,000 answers").replace(
        "replica_s_per_1000", "replica-seconds per 1,000 answers"
    )


def _point(
    number: int, rows: Sequence[Mapping[str, Cell]], knobs: Sequence[str], metric: str
) -> Point:
    costs = [finite(row["busy_s_per_1000"]) for row in rows]
    known = [cost for cost in costs if cost is not None]
    return Point(
        setting=number,
        cells=tuple(rows[0][name] for name in knobs),
        figure=_mean([row[metric] for row in rows]),
        reached=_mean([row["reached_ms"] for row in rows]),
        busy_s_per_1000=sum(known) / len(known) if len(known) == len(rows) else None,
        reason=next((str(row["reason"]) for row in rows if row["reason"]), ""),
    )


def _mean(values: Sequence[Cell]) -> Estimate | None:
    """The mean, infinite where a value is; None where one is missing."""
    numbers = [float(value) for value in values if value is not None]
    if len(numbers) < len(values):
        return None
    if not all(map(math.isfinite, numbers)):
        return Estimate(math.inf, None, None)
    return over_replications(numbers)
