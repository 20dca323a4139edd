"""The three tables of a recorded run, and the way between them and a run log.

A table is made and read in chunks of rows, so that only one is in memory beside the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from policies.contract import NEVER_NS
from policies.runlog import BatchLog, Outcome, RequestLog, RunLog, SkipLog, StageLog, VisitLog

CHUNK_ROWS = 1_000_000

_NAME = pa.dictionary(pa.int32(), pa.string())

REQUESTS = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("arrival_ns", pa.int64(), nullable=False),
        pa.field("deadline_ns", pa.int64()),
        pa.field("items", pa.int64(), nullable=False),
        pa.field("completed_ns", pa.int64()),
        pa.field("ended_ns", pa.int64()),
        pa.field("outcome", _NAME, nullable=False),
        pa.field("level", pa.int8(), nullable=False),
        pa.field("priority", pa.int8(), nullable=False),
        pa.field("reason", _NAME),
    ]
)
VISITS = pa.schema(
    [
        pa.field("request", pa.int64(), nullable=False),
        pa.field("stage", _NAME, nullable=False),
        pa.field("branch", _NAME, nullable=False),
        pa.field("enqueued_ns", pa.int64(), nullable=False),
        pa.field("dispatched_ns", pa.int64()),
        pa.field("finished_ns", pa.int64()),
        pa.field("batch", pa.int64()),
        pa.field("row", pa.int64()),  # which of the stage's rows in the batches table
    ]
)
BATCHES = pa.schema(
    [
        pa.field("stage", _NAME, nullable=False),
        pa.field("replica", pa.int32(), nullable=False),
        pa.field("batch", pa.int64(), nullable=False),
        pa.field("dispatched_ns", pa.int64(), nullable=False),
        pa.field("started_ns", pa.int64(), nullable=False),
        pa.field("finished_ns", pa.int64(), nullable=False),
        pa.field("requests", pa.int64(), nullable=False),
        pa.field("items", pa.int64(), nullable=False),
        pa.field("attempt", pa.int8(), nullable=False),
        pa.field("lost", pa.bool_(), nullable=False),
        pa.field("discarded", pa.bool_(), nullable=False),
    ]
)
SCHEMAS = {"requests": REQUESTS, "visits": VISITS, "batches": BATCHES}
"""By the file's name without its ending."""
KEY = pa.field("key", pa.int64(), nullable=False)
"""The column of the requests that have keys; else there is none."""
SERVICE_LEVEL = pa.field("service_level", pa.int8(), nullable=False)
"""Likewise where requests have a level of their own."""
COMPUTED, MISSED = pa.field("computed", pa.int64()), pa.field("missed", pa.int64())
LEVEL = pa.field("level", pa.int8())
"""Columns of the batches of a run with stages that coalesce, have locality, or degrade; null for the
others'. Visits have the level too.
"""
SKIPPED = pa.field("skipped_ns", pa.int64())
"""Column of the visits of a run with stages that may be skipped."""

_OPTIONAL = {
    "requests": (KEY, SERVICE_LEVEL),
    "visits": (LEVEL, SKIPPED),
    "batches": (COMPUTED, MISSED, LEVEL),
}
_OUTCOMES = [outcome.name.lower() for outcome in Outcome]


def schema_of(name: str, log: RunLog) -> pa.Schema:
    """The columns of a run's table: those that are always there, and those that this run has."""
    there = {
        KEY.name: name == "requests" and log.requests.keys is not None,
        SERVICE_LEVEL.name: name == "requests" and log.requests.service_level is not None,
        COMPUTED.name: any(stage.batches.computed is not None for stage in log.stages),
        MISSED.name: any(stage.batches.missed is not None for stage in log.stages),
        LEVEL.name: name in ("visits", "batches")
        and any(each.batches.level is not None for each in log.stages),
        SKIPPED.name: any(each.skipped is not None for each in log.stages),
    }
    return schema_in(name, [column for column, is_there in there.items() if is_there])


def schema_in(name: str, names: Sequence[str]) -> pa.Schema:
    """The columns of a table that is to be read, of which a file has those of these ``names``."""
    schema = SCHEMAS[name]
    for field in _OPTIONAL.get(name, ()):
        if field.name in names:
            schema = schema.append(field)
    return schema


def request_tables(log: RequestLog) -> Iterator[pa.Table]:
    """The requests as tables; a time that does not exist is null."""
    reasons = list(dict.fromkeys(log.reasons.values()))
    number = {reason: index for index, reason in enumerate(reasons)}
    reason = np.full(len(log), -1, np.int32)
    if log.reasons:
        reason[list(log.reasons)] = [number[text] for text in log.reasons.values()]
    schema, more = REQUESTS, []
    for field, column in ((KEY, log.keys), (SERVICE_LEVEL, log.service_level)):
        if column is not None:
            schema = schema.append(field)
            more.append(column)
    for rows in _chunks(len(log)):
        ended, outcome = log.ended_ns[rows], log.outcome[rows]
        deadline, code = log.deadline_ns[rows], reason[rows]
        columns = [
            np.arange(rows.start, rows.stop),
            log.arrival_ns[rows],
            pa.array(deadline, mask=deadline == NEVER_NS),
            log.items[rows],
            pa.array(ended, mask=outcome != Outcome.COMPLETED),
            pa.array(ended, mask=ended < 0),
            _coded(outcome.astype(np.int32), _OUTCOMES),
            log.level[rows],
            log.priority[rows],
            _coded(code, reasons),
        ]
        columns += [column[rows] for column in more]
        yield pa.table(columns, schema=schema)


def visit_tables(stage: StageLog, schema: pa.Schema = VISITS) -> Iterator[pa.Table]:
    """One stage's visits as tables of the run's :func:`schema_of` visits; a visit that was not dispatched
    has nulls.
    """
    batches, visits = stage.batches, stage.visits.made()
    skipped_ns = _skipped_ns(stage, visits) if SKIPPED.name in schema.names else None
    for rows in _chunks(len(visits.request)):
        row = visits.row[rows]
        unsent = row < 0
        columns = [
            visits.request[rows],
            _constant(stage.name, len(row)),
            _constant(stage.branch, len(row)),
            visits.enqueued_ns[rows],
            *(
                pa.array(_taken(column, row), mask=unsent)
                for column in (batches.dispatched_ns, batches.finished_ns, batches.batch)
            ),
            pa.array(row, mask=unsent),
        ]
        skips = np.full(len(row), -1) if skipped_ns is None else skipped_ns[rows]
        if LEVEL.name in schema.names:
            columns.append(_levels(stage, row, skips >= 0))
        if SKIPPED.name in schema.names:
            columns.append(pa.array(skips, mask=skips < 0))
        yield pa.table(columns, schema=schema)


def _skipped_ns(stage: StageLog, visits: VisitLog) -> NDArray[np.int64]:
    """By visit, when it ended because the request went on without the stage; else -1."""
    at_ns = np.full(len(visits.request), -1, np.int64)
    if stage.skipped is not None and len(stage.skipped.request):
        order = np.argsort(visits.request)
        places = order[np.searchsorted(visits.request, stage.skipped.request, sorter=order)]
        at_ns[places] = stage.skipped.at_ns
    return at_ns


def _levels(stage: StageLog, row: NDArray[np.int64], skips: NDArray[np.bool_]) -> pa.Array:
    """The level of each visit: of its batch, or that at which the stage is skipped."""
    level = stage.batches.level
    if level is None:
        return pa.nulls(len(row), LEVEL.type)
    found = level[row] if len(level) else np.zeros(len(row), np.int8)
    if stage.skipped is not None:
        found = np.where(skips, np.int8(stage.skipped.level), found)
    return pa.array(found, mask=(row < 0) & ~skips)


def batch_tables(stage: StageLog, schema: pa.Schema = BATCHES) -> Iterator[pa.Table]:
    """One stage's batches as tables of the run's :func:`schema_of` batches."""
    batches = stage.batches
    for rows in _chunks(len(batches.batch)):
        columns = [
            _constant(stage.name, rows.stop - rows.start),
            *(
                _rows_of(getattr(batches, field.name), rows, field.type)
                for field in list(schema)[1:]
            ),
        ]
        yield pa.table(columns, schema=schema)


def read_requests(table: pa.Table) -> RequestLog:
    """The request log behind its table."""
    names = table["outcome"].combine_chunks()
    codes = np.array([_OUTCOMES.index(name) for name in names.dictionary.to_pylist()], np.int8)
    reason = table["reason"].combine_chunks()
    with_reason = np.flatnonzero(reason.is_valid().to_numpy(zero_copy_only=False))
    texts = reason.take(pa.array(with_reason)).to_pylist()
    return RequestLog(
        arrival_ns=_numpy(table, "arrival_ns"),
        deadline_ns=_numpy(table, "deadline_ns", null=NEVER_NS),
        items=_numpy(table, "items"),
        ended_ns=_numpy(table, "ended_ns", null=-1),
        outcome=codes[names.indices.to_numpy()],
        level=_numpy(table, "level"),
        priority=_numpy(table, "priority"),
        reasons=dict(zip(with_reason.tolist(), texts, strict=True)),
        keys=_numpy(table, KEY.name) if KEY.name in table.column_names else None,
        service_level=(
            _numpy(table, SERVICE_LEVEL.name) if SERVICE_LEVEL.name in table.column_names else None
        ),
    )


def read_visits(table: pa.Table) -> VisitLog:
    """One stage's visit log behind its rows."""
    return VisitLog(
        request=_numpy(table, "request"),
        enqueued_ns=_numpy(table, "enqueued_ns"),
        row=_numpy(table, "row", null=-1),
    )


def read_skipped(table: pa.Table, level: int) -> SkipLog | None:
    """Who went on without the stage of these visits, at its level; None where ``level`` is 0."""
    if not level:
        return None
    at_ns = _numpy(table, SKIPPED.name, null=-1)
    skipped = np.flatnonzero(at_ns >= 0)
    request = _numpy(table, "request")[skipped]
    return SkipLog(level=level, request=request, at_ns=at_ns[skipped])


def read_batches(table: pa.Table) -> BatchLog:
    """One stage's batch log behind its rows."""
    extra = {
        field.name: _numpy(table, field.name)
        for field in _OPTIONAL["batches"]
        if field.name in table.column_names and not table[field.name].null_count
    }
    return BatchLog(**{name: _numpy(table, name) for name in BATCHES.names[1:]}, **extra)


def _rows_of(column: NDArray[Any] | None, rows: slice, kind: pa.DataType) -> Any:
    """Rows of a column; nulls for one that the stage does not have."""
    return pa.nulls(rows.stop - rows.start, kind) if column is None else column[rows]


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, CHUNK_ROWS):
        yield slice(start, min(start + CHUNK_ROWS, count))


def _taken(column: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.int64]:
    """The column's entries at ``row``, any value where that is -1."""
    return column[row] if len(column) else np.zeros(len(row), np.int64)


def _coded(codes: NDArray[np.int32], names: list[str]) -> pa.DictionaryArray:
    indices = pa.array(codes, mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))


def _constant(name: str, count: int) -> pa.DictionaryArray:
    return _coded(np.zeros(count, np.int32), [name])


def _numpy(table: pa.Table, name: str, null: int | None = None) -> NDArray[Any]:
    column = table[name]
    if null is not None:
        column = column.fill_null(null)
    values: NDArray[Any] = column.to_numpy()
    return values
