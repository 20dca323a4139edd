"""From a latency table as others have published it to a file that the simulator serves from.

A mapping says which columns hold the batch size, the mean time and the percentiles; rows that have the
same labels (GPU, model, precision) make one curve.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.labels import LabelError, chosen, show_labels
from configs.published import FORMAT, BatchTimes, Per, Published, PublishedGroup
from delayline.errors import CommandError
from sim.columns import UNITS, column_names, comments, fail, read_table, unit_ns
from sim.service.scores import times_by_score

if TYPE_CHECKING:
    import pyarrow

_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """What the columns of a table mean."""

    batch: str
    mean: str
    percentiles: Mapping[int, str] = field(default_factory=dict)
    """Column by percentile."""
    unit: str | None = None
    """``ns``, ``us``, ``ms`` or ``s``, of columns whose names do not end in it."""
    group_by: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that hold numbers of a curve."""
        return (self.batch, *self.times.values())

    @property
    def times(self) -> dict[str, str]:
        """Column by what it holds: ``mean``, ``p99``."""
        return {"mean": self.mean} | {f"p{rank}": name for rank, name in self.percentiles.items()}

    def unit_ns(self, column: str) -> int:
        """Nanoseconds in the unit of a column of times. Raises CommandError where it is not told, or
        told twice.
        """
        named, given = unit_ns(column), UNITS.get(f"_{self.unit}")
        if named is None and given is None:
            raise CommandError(
                f"the name of column {column} does not end in its unit ({', '.join(UNITS)});"
                " tell it with --unit"
            )
        if named is not None and given is not None and named != given:
            raise CommandError(
                f"the name of column {column} ends in another unit than --unit {self.unit};"
                " leave --unit out"
            )
        return named or given or 0


@dataclass(frozen=True, slots=True)
class Imported:
    """A table's curves, and what a reader should know of how they came to be."""

    published: Published
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    """From 0."""
    cells: Mapping[str, Any]
    labels: Mapping[str, str]
    """The cells as text, without those that are empty."""
    batch: int


def import_table(
    path: Path,
    mapping: ColumnMapping,
    *,
    per: Per,
    where: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Imported:
    """The curves of the table in ``path`` (csv, csv.gz or parquet), or of the rows that are chosen.

    Raises CommandError, LabelError or TraceError, which name the place.
    """
    where = where or {}
    read_table(path, [*mapping.used, *mapping.group_by])
    table = read_table(path, column_names(path))
    for column in mapping.times.values():
        mapping.unit_ns(column)
    rows = _rows(path, table, mapping, where)
    given = tuple(
        dict.fromkeys(name for name in (*mapping.group_by, *where) if name not in mapping.used)
    )
    added = _telling_apart(rows, given, _texts(table, {*mapping.used, *given}))
    columns = (*given, *added)
    groups, single = [], []
    for members in _grouped(rows, columns):
        labels = {name: members[0].labels[name] for name in columns if name in members[0].labels}
        points = dict(_points(path, members, mapping, labels))
        if len(points) > 1:
            groups.append(PublishedGroup(labels=labels, points=dict(sorted(points.items()))))
        else:
            single.append(labels)
    told = [*_of_added(given, added), *_of_single(single)]
    if not groups:
        raise CommandError(f"{path}: no group has two batch sizes or more; {'; '.join(told)}")
    published = Published(
        format=FORMAT,
        source=path.name,
        columns={"batch": mapping.batch, **mapping.times},
        notes=(*comments(path), *notes),
        per=per,
        groups=tuple(groups),
    )
    return Imported(published, tuple(told))


def _rows(
    path: Path, table: pyarrow.Table, mapping: ColumnMapping, where: Mapping[str, str]
) -> list[_Row]:
    """The rows that are chosen."""
    found = [
        (number, cells, {name: str(cell) for name, cell in cells.items() if cell is not None})
        for number, cells in enumerate(table.to_pylist())
    ]
    try:
        found = chosen(found, lambda row: row[2], where)
    except LabelError as error:
        raise LabelError(f"{path}, --where: {error}") from error
    return [
        _Row(number, cells, labels, _batch(path, number, mapping.batch, cells[mapping.batch]))
        for number, cells, labels in found
    ]


def _batch(path: Path, number: int, column: str, cell: Any) -> int:
    size = _number(path, number, column, cell)
    if size != int(size) or not 1 <= size <= 2**53:
        raise fail(path, number, column, f"must be a whole number from 1 on, not {cell}")
    return int(size)


def _number(path: Path, number: int, column: str, cell: Any) -> float:
    if cell is None:
        raise fail(path, number, column, "the value is missing")
    try:
        found = float(cell)
    except (TypeError, ValueError):
        raise fail(path, number, column, f"{cell!r} is not a number") from None
    if not abs(found) < float("inf"):
        raise fail(path, number, column, f"{cell} is no finite number")
    return found


def _texts(table: pyarrow.Table, used: Collection[str]) -> list[str]:
    """The columns of text that are not used yet, those of short texts first."""
    import pyarrow

    longest = {
        name: max((len(text) for text in table[name].to_pylist() if text), default=0)
        for name in table.column_names
        if pyarrow.types.is_string(table[name].type) and name not in used
    }
    return sorted(longest, key=lambda name: longest[name])


def _telling_apart(
    rows: Sequence[_Row], given: Sequence[str], texts: Sequence[str]
) -> tuple[str, ...]:
    """The columns that must be grouped by too, so that no group has a batch size twice."""
    added: list[str] = []
    for name in texts:
        twice = [same for group in _grouped(rows, [*given, *added]) for same in _repeated(group)]
        if any(len({row.labels.get(name) for row in same}) > 1 for same in twice):
            added.append(name)
    return tuple(added)


def _repeated(rows: Sequence[_Row]) -> list[list[_Row]]:
    """The rows of each batch size that stands twice or more."""
    by_size: dict[int, list[_Row]] = {}
    for row in rows:
        by_size.setdefault(row.batch, []).append(row)
    return [found for found in by_size.values() if len(found) > 1]


def _grouped(rows: Sequence[_Row], columns: Sequence[str]) -> list[list[_Row]]:
    groups: dict[tuple[str | None, ...], list[_Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.labels.get(name) for name in columns), []).append(row)
    return list(groups.values())


def _points(
    path: Path, rows: Sequence[_Row], mapping: ColumnMapping, labels: Mapping[str, str]
) -> Iterator[tuple[int, BatchTimes]]:
    """The times of each batch size of one group."""
    if twice := _repeated(rows):
        first, second = twice[0][:2]
        differ = [
            name
            for name, cell in first.cells.items()
            if cell != second.cells[name] and name not in mapping.used
        ]
        apart = f"; the rows differ in {', '.join(differ[:_MOST_NAMED])}" if differ else ""
        raise fail(
            path,
            second.number,
            mapping.batch,
            f"{second.batch} stands a second time for {show_labels(labels) or 'the table'}{apart}:"
            " choose by --where, or --group-by more",
        )
    for row in rows:
        yield row.batch, _times(path, row, mapping)


def _times(path: Path, row: _Row, mapping: ColumnMapping) -> BatchTimes:
    found = {}
    for name, column in mapping.times.items():
        value = _number(path, row.number, column, row.cells[column])
        if value <= 0:
            raise fail(path, row.number, column, f"must be more than 0, not {value:g}")
        found[f"{name}_ns"] = max(1, round(value * mapping.unit_ns(column)))
    try:
        times = BatchTimes(**found)
        times_by_score(times.mean_ns, times.percentiles)
    except ValueError as error:
        raise fail(path, row.number, mapping.mean, str(error)) from error
    return times


def _of_added(given: Sequence[str], added: Sequence[str]) -> Iterator[str]:
    if added:
        apart = f"{', '.join(given)} do not tell all rows apart: " if given else ""
        yield f"{apart}grouped by {', '.join(added)}{' too' if given else ''}"


def _of_single(single: Sequence[Mapping[str, str]]) -> Iterator[str]:
    if single:
        named = "; ".join(show_labels(labels) or "the table" for labels in single[:_MOST_NAMED])
        more = f" and {len(single) - _MOST_NAMED} more" if len(single) > _MOST_NAMED else ""
        yield (f"left out, since one batch size does not tell how time grows: {named}{more}")
