"""The table of a sweep: one row for each setting and replication, in one Parquet file."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isinf
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from configs.atomic import write_bytes
from policies.runlog import RunLog
from reports.objective import reached_ms
from reports.percentiles import NS_PER_MS, STATISTICS, Distribution
from reports.run import Objective, Run
from reports.totals import Totals, totals

Cell = float | int | bool | str | None
Row = dict[str, Cell]
Description = Mapping[str, object]
"""What a table is of, JSON-able: two with the same may be put together."""

REFUSED = "refused"
OK = "ok"
_KEY = b"delayline.sweep"
_HEAD = {"setting": "int32"}
_RUN = {
    "replication": "int32",
    "seed": "int64",
    "status": "string",
    "reason": "string",
    "engine": "string",
}
_FIGURES = {
    "arrived": "int64",
    "completed": "int64",
    "shed": "int64",
    "expired": "int64",
    "failed": "int64",
    "unanswered": "float64",
    "throughput_rps": "float64",
    "goodput_rps": "float64",
    "latency_mean_ms": "float64",
    "latency_p50_ms": "float64",
    "latency_p90_ms": "float64",
    "latency_p95_ms": "float64",
    "latency_p99_ms": "float64",
    "latency_p999_ms": "float64",
    "latency_max_ms": "float64",
    "reached_ms": "float64",
    "met": "bool",
    "busy_s_per_1000": "float64",
    "replica_s_per_1000": "float64",
}
_STAGE_FIGURES = ("utilization", "mean_batch")


class SweepError(ValueError):
    """A table that cannot be read, or that is of another sweep; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a sweep: a type for each knob's, and the stages."""

    knobs: Mapping[str, str]
    stages: tuple[str, ...]

    @property
    def figures(self) -> dict[str, str]:
        """The columns that measure a run, and their types."""
        of_stages = {
            f"stages.{name}.{figure}": "float64"
            for name in self.stages
            for figure in _STAGE_FIGURES
        }
        return {**_FIGURES, **of_stages}

    def schema(self) -> pa.Schema:
        """All of them, in order."""
        types = {**_HEAD, **self.knobs, **_RUN, **self.figures}
        return pa.schema([pa.field(name, pa.type_for_alias(kind)) for name, kind in types.items()])


def figures(log: RunLog, objective: Objective | None = None, warmup_ns: int = 0) -> Row:
    """The figures of one run, by the definitions of ``reports.definitions``.

    ``reached_ms`` is the latency at the objective's percentile, requests without an answer being later
    than any; ``met`` tells whether it lies within. Raises ValueError for a warm-up that is too long.
    """
    found = totals(
        log, objective_ns=None if objective is None else objective.latency_ns, warmup_ns=warmup_ns
    )
    reached = met = None
    if objective is not None:
        reached = _reached(found, log, objective, warmup_ns)
        met = reached <= objective.latency_ns / NS_PER_MS
    return {
        "arrived": found.arrived,
        "completed": found.completed,
        "shed": found.shed,
        "expired": found.expired,
        "failed": found.failed,
        "unanswered": 1 - found.completed / found.arrived,
        "throughput_rps": found.throughput_rps,
        "goodput_rps": found.goodput_rps,
        **_latencies(found.latency),
        "reached_ms": reached,
        "met": met,
        "busy_s_per_1000": found.cost.busy_seconds_per_1000,
        "replica_s_per_1000": found.cost.replica_seconds_per_1000,
        **{f"stages.{stage.name}.utilization": stage.utilization for stage in found.stages},
        **{f"stages.{stage.name}.mean_batch": stage.mean_batch for stage in found.stages},
    }


def _reached(found: Totals, log: RunLog, objective: Objective, warmup_ns: int) -> float:
    """:func:`~reports.objective.reached_ms`; where all are answered it is a percentile of the answers."""
    known = f"p{objective.percentile:g}"
    value = found.latency.get(known) if known in STATISTICS else None
    if value is not None and found.completed == found.arrived:
        return value
    return reached_ms(Run("", log, objective, warmup_ns))


def _latencies(found: Distribution) -> Row:
    return {
        "latency_mean_ms": found.mean_ms,
        "latency_p50_ms": found.p50_ms,
        "latency_p90_ms": found.p90_ms,
        "latency_p95_ms": found.p95_ms,
        "latency_p99_ms": found.p99_ms,
        "latency_p999_ms": found.p999_ms,
        "latency_max_ms": found.max_ms,
    }


def table_of(columns: Columns, rows: Sequence[Row], description: Description) -> pa.Table:
    """The rows as a table that says what it is of."""
    schema = described(columns.schema(), description)
    return pa.Table.from_pylist(list(rows), schema=schema)


def described(schema: pa.Schema, description: Description) -> pa.Schema:
    """The schema of a table that says what it is of, as :func:`read` finds it."""
    return schema.with_metadata({_KEY: json.dumps(description).encode()})


def write(path: Path, table: pa.Table) -> None:
    """Write a table whole or not at all. Raises OSError that names ``path``."""
    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd")
    write_bytes(path, target.getvalue())


def read(path: Path) -> tuple[pa.Table, Description]:
    """The table in a file and what it is of. Raises SweepError, or OSError where there is none."""
    try:
        table = pq.ParquetFile(path).read()
        description = json.loads((table.schema.metadata or {})[_KEY])
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise SweepError(
            f"{path} is no table of a sweep; give another --out, or move it away"
        ) from error
    return table, description


def difference(one: object, other: object, where: str = "") -> str | None:
    """The first place at which two descriptions differ; None where they are the same."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *(key for key in other if key not in one)]:
            place = f"{where}.{key}" if where else str(key)
            if (key in one) != (key in other):
                return place
            if found := difference(one[key], other[key], place):
                return found
        return None
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        places = (
            difference(a, b, f"{where}.{_name(a, index)}")
            for index, (a, b) in enumerate(zip(one, other, strict=True))
        )
        return next((place for place in places if place), None)
    return None if one == other else where


def _name(entry: object, index: int) -> object:
    return entry.get("name", index) if isinstance(entry, Mapping) else index


def metric_column(columns: Columns, metric: str) -> str:
    """The column that a metric's name means: itself, or what it is short for, such as ``p99``.

    Raises SweepError for a name that is none, or is short for several.
    """
    names = [name for name, kind in columns.figures.items() if kind != "bool"]
    short = metric.replace(".", "") if metric.startswith("p") else metric
    latency = f"latency_{short}_ms"
    for exact in (metric, latency):
        if exact in names:
            return exact
    begun = [name for name in names if metric and name.startswith(metric)]
    begun = begun or [name for name in names if metric and metric in name]
    if len(begun) == 1:
        return begun[0]
    listed = ", ".join(begun or names)
    what = "is short for several" if begun else "is none"
    raise SweepError(f"metric {metric!r} {what}; take one of {listed}")


def finite(value: Cell) -> float | None:
    """A number that a mean can be taken of; None for what has no bound or is no number."""
    usable = isinstance(value, int | float) and not isinf(value)
    return float(value) if usable and value is not None else None
