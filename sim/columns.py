"""Columns of recorded data: csv, csv.gz or parquet files read by column, with errors that say where.

Lines that begin with ``#`` before a csv file's header are comments.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from policies.runlog import Int64

if TYPE_CHECKING:
    import pyarrow

Float64 = NDArray[np.float64]

UNITS = {"_ns": 1, "_us": 1_000, "_ms": 1_000_000, "_s": 1_000_000_000}
"""How the name of a column of times ends, and the nanoseconds in that unit."""


def unit_ns(column: str) -> int | None:
    """Nanoseconds in the unit that a column's name ends in; None without one."""
    return next((unit for end, unit in UNITS.items() if column.endswith(end)), None)


class TraceError(ValueError):
    """Recorded data that cannot be used; the text names the file, the row and the column."""


@lru_cache(maxsize=16)
def _read(path: Path, columns: tuple[str, ...], modified_ns: int, size: int) -> pyarrow.Table:
    """The cached read; the last two arguments make a file that has changed be read again."""
    del modified_ns, size
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    try:
        _require(path, columns, column_names(path))
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path, columns=list(columns))
        options = pyarrow.csv.ConvertOptions(
            include_columns=list(columns), strings_can_be_null=True
        )
        skipped = pyarrow.csv.ReadOptions(skip_rows=len(comments(path)))
        return pyarrow.csv.read_csv(path, read_options=skipped, convert_options=options)
    except (pyarrow.ArrowException, OSError) as error:
        raise TraceError(f"{path} cannot be read: {error}") from error


def column_names(path: Path) -> tuple[str, ...]:
    """The columns of a file, in order. Raises TraceError where it cannot be read."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    _status(path)
    try:
        if path.suffix == ".parquet":
            return tuple(pyarrow.parquet.read_schema(path).names)
        skipped = pyarrow.csv.ReadOptions(skip_rows=len(comments(path)))
        with pyarrow.csv.open_csv(path, read_options=skipped) as reader:
            return tuple(reader.schema.names)
    except (pyarrow.ArrowException, OSError) as error:
        raise TraceError(f"{path} cannot be read: {error}") from error


def comments(path: Path) -> tuple[str, ...]:
    """The lines before the header that begin with ``#``, without it; a parquet file has none."""
    if path.suffix == ".parquet":
        return ()
    with _opened(path) as file:
        lines = (line.decode("utf-8-sig", errors="replace") for line in file)
        return tuple(line[1:].strip() for line in takewhile(lambda line: line[:1] == "#", lines))


@contextmanager
def _opened(path: Path) -> Iterator[Iterable[bytes]]:
    """A text file, compressed or not. Raises OSError for one that is damaged too."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        try:
            yield file
        except (EOFError, zlib.error) as error:
            raise OSError(f"it is damaged ({error})") from error


def _require(path: Path, columns: Sequence[str], present: Sequence[str]) -> None:
    for column in columns:
        if column not in present:
            near = get_close_matches(column, present, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise TraceError(f"{path} has no column {column!r}; it has {', '.join(present)}{hint}")


def read_table(path: Path, columns: Sequence[str]) -> pyarrow.Table:
    """The named columns of a file, each with the type that its values suggest.

    Raises TraceError for a file that is absent, unreadable or without rows, and a column that is not
    there.
    """
    status = _status(path)
    # One column may serve two ends, and a file has it once.
    table = _read(path, tuple(dict.fromkeys(columns)), status.st_mtime_ns, status.st_size)
    if not table.num_rows:
        raise TraceError(f"{path} has no rows")
    return table


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}") from error


def fail(path: Path, row: int, column: str, what: str) -> TraceError:
    """The error for one value; ``row`` counts from 0 and is given as the line of a text file."""
    if path.suffix == ".parquet":
        return TraceError(f"{path}, row {row + 1}, column {column}: {what}")
    return TraceError(f"{path}, line {_line(path, row)}, column {column}: {what}")


def _line(path: Path, row: int) -> int:
    """The 1-based line of a data row: comments, the header and blank lines are no rows."""
    with _opened(path) as file:
        seen = -1 - len(comments(path))
        for number, line in enumerate(file, 1):
            seen += bool(line.strip())
            if seen > row:
                return number
    return row + 2


def numbers(table: pyarrow.Table, path: Path, column: str) -> Float64:
    """A column as finite float64. Raises TraceError at the first value that is missing or no number."""
    import pyarrow

    values = _whole(table, path, column)
    kind = values.type
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)):
        raise _first_bad(values, path, column, pyarrow.float64(), "a number")
    found: Float64 = values.to_numpy().astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise fail(path, int(bad[0]), column, f"{found[bad[0]]} is no finite number")
    return found


def counts(table: pyarrow.Table, path: Path, column: str, least: int) -> Int64:
    """A column of whole numbers, none below ``least``. Raises TraceError at the first other value."""
    found = numbers(table, path, column)
    bad = np.flatnonzero((found != np.floor(found)) | (found < least) | (found > 2**53))
    if len(bad):
        value = f"{found[bad[0]]:g}"
        raise fail(
            path, int(bad[0]), column, f"must be a whole number from {least} on, not {value}"
        )
    return found.astype(np.int64)


def identities(table: pyarrow.Table, path: Path, column: str) -> Int64:
    """A column of anything as integers that are equal where the values are: whole numbers as they are,
    other values numbered in the order in which they first appear.
    """
    import pyarrow

    values = _whole(table, path, column)
    if pyarrow.types.is_integer(values.type):
        try:
            whole: Int64 = values.cast(pyarrow.int64()).to_numpy()
        except pyarrow.ArrowInvalid:
            pass  # beyond 64 bits with a sign: numbered like names
        else:
            return whole
    numbered = values.combine_chunks().dictionary_encode()
    return np.asarray(numbered.indices.to_numpy(), np.int64)


def timestamps_ns(table: pyarrow.Table, path: Path, column: str) -> Int64:
    """A column of timestamps as nanoseconds since 1970, time zones applied."""
    import pyarrow

    values = _whole(table, path, column)
    if not pyarrow.types.is_temporal(values.type) or pyarrow.types.is_time(values.type):
        raise _first_bad(values, path, column, pyarrow.timestamp("ns"), "a timestamp")
    try:
        zone = getattr(values.type, "tz", None)
        found: Int64 = values.cast(pyarrow.timestamp("ns", zone)).cast(pyarrow.int64()).to_numpy()
    except pyarrow.ArrowInvalid as error:
        raise TraceError(f"{path}, column {column}: {error}") from error
    return found


def is_numeric(table: pyarrow.Table, column: str) -> bool:
    """Whether the column's values are plain numbers."""
    import pyarrow

    kind = table[column].type
    return bool(pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind))


def texts(table: pyarrow.Table, path: Path, column: str) -> NDArray[np.str_]:
    """A column as text. Raises TraceError at the first missing value."""
    return np.asarray(_whole(table, path, column).to_pylist(), dtype=np.str_)


def _whole(table: pyarrow.Table, path: Path, column: str) -> pyarrow.ChunkedArray:
    """The column, which must have no missing value."""
    values = table[column]
    if values.null_count:
        row = next(row for row, value in enumerate(values) if not value.is_valid)
        raise fail(path, row, column, "the value is missing")
    return values


def _first_bad(
    values: pyarrow.ChunkedArray, path: Path, column: str, wanted: pyarrow.DataType, name: str
) -> TraceError:
    """The error for a column that is not of the type wanted, naming the first value that is not."""
    import pyarrow

    for row, value in enumerate(values.cast(pyarrow.string()).to_pylist()):
        try:
            pyarrow.array([value]).cast(wanted)
        except pyarrow.ArrowInvalid:
            return fail(path, row, column, f"{value!r} is not {name}")
    return TraceError(f"{path}, column {column}: the values are of type {values.type}, not {name}s")
