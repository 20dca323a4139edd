"""What requests carry from stage to stage: one table a tensor, one row a request under way.

Whole batches are copied at once, by row numbers: out of the tables into a replica's memory when a
batch starts, back when it has finished. A request's row is used again once the request has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.merging import PRESENT
from executors.presence import Mask, Went
from executors.slab import Columns
from executors.wiring import CLIENT, Column, Wiring

_FIRST_ROWS = 256
_NO_ROW = -1


class Payloads:
    """The tables. Request ids are taken in the order 0, 1, 2, ...; used by one thread."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._tables: dict[Column, NDArray[Any]] = {
            column: np.zeros((_FIRST_ROWS, *spec.shape), spec.dtype)
            for column, spec in wiring.columns.items()
        }
        self._kept: list[list[str]] = [
            [name for producer, name in wiring.columns if producer == stage]
            for stage in range(len(wiring.models))
        ]
        self._client = [name for producer, name in wiring.columns if producer == CLIENT]
        self._free = list(range(_FIRST_ROWS - 1, -1, -1))
        self._row_of: NDArray[np.int64] = np.full(_FIRST_ROWS, _NO_ROW, np.int64)
        self._capacity = _FIRST_ROWS

    @property
    def under_way(self) -> int:
        """Requests that hold a row."""
        return self._capacity - len(self._free)

    def admit(self, requests: Sequence[int], inputs: Columns) -> None:
        """Take in what clients sent: ``inputs[name]`` has a row for each of the new requests."""
        count = len(requests)
        while len(self._free) < count:
            self._grow()
        rows = self._free[-count:]
        del self._free[-count:]
        end = requests[-1] + 1
        if end > len(self._row_of):
            more = np.full(max(len(self._row_of), end - len(self._row_of)), _NO_ROW, np.int64)
            self._row_of = np.concatenate([self._row_of, more])
        self._row_of[requests[0] : end] = rows
        for name in self._client:
            self._tables[CLIENT, name][rows] = inputs[name]

    def gather(
        self, stage: int, requests: Sequence[int], into: Columns, went: Went | None = None
    ) -> None:
        """Put the inputs of a batch into a replica's memory, in the batch's order.

        ``went`` tells who went on without which branch; None where nobody did. A tensor that is missing is
        zeros, or what its branch's default says.
        """
        rows = self._row_of[np.asarray(requests, np.int64)]
        count = len(rows)
        for name, column in self._wiring.inputs[stage].items():
            # mode="clip" lets take write into ``out`` directly; the rows are in range.
            np.take(self._tables[column], rows, axis=0, out=into[name][:count], mode="clip")
        if self._wiring.joins[stage] is not None:
            into[PRESENT][:count] = True
        if went is not None:
            rows_of = {name: into[name][:count] for name in self._wiring.memory[stage]}
            without(self._wiring, stage, rows_of, went)

    def scatter(
        self,
        stage: int,
        requests: Sequence[int],
        outputs: Columns,
        answers: Sequence[int] | None = None,
    ) -> None:
        """Keep what a batch put out; requests that have ended in the meantime are passed over.

        ``answers`` gives for each request the row of its answer, where some share one.
        """
        rows = self._row_of[np.asarray(requests, np.int64)]
        of = slice(len(rows)) if answers is None else np.asarray(answers, np.int64)
        live = rows >= 0
        if live.all():
            for name in self._kept[stage]:
                self._tables[stage, name][rows] = outputs[name][of]
        else:
            for name in self._kept[stage]:
                self._tables[stage, name][rows[live]] = outputs[name][of][live]

    def answers(self, requests: Sequence[int]) -> dict[str, NDArray[Any]]:
        """The answers of completed requests, a row each, as copies."""
        rows = self._row_of[np.asarray(requests, np.int64)]
        return {name: self._tables[column][rows] for name, column in self._wiring.answers.items()}

    def forget(self, requests: Sequence[int]) -> None:
        """The requests have ended."""
        ids = np.asarray(requests, np.int64)
        rows = self._row_of[ids]
        self._free.extend(rows[rows >= 0].tolist())
        self._row_of[ids] = _NO_ROW

    def _grow(self) -> None:
        """Twice as many rows."""
        old = self._capacity
        for column, table in self._tables.items():
            self._tables[column] = np.concatenate([table, np.zeros_like(table)])
        self._capacity = 2 * old
        self._free[:0] = range(self._capacity - 1, old - 1, -1)


def without(wiring: Wiring, stage: int, columns: Columns, went: Went) -> None:
    """In a batch's inputs, (rows, ...) by name in the stage's memory, mark which branches are missing, and
    fill what passes on as it is.
    """
    ways, joined, inputs = wiring.ways, wiring.joins[stage], wiring.inputs[stage]
    taken: set[str] = set()
    for number, names in enumerate(() if joined is None else joined.takes.values()):
        taken.update(names.values())
        for producer in {inputs[name][0] for name in names.values()}:
            there = ways.through(stage, number, producer, went)
            if there is not None:
                columns[PRESENT][:, number] &= there
    masks: dict[int, Mask | None] = {}
    for name, (producer, _) in inputs.items():
        if name in taken or producer == CLIENT:
            continue
        if producer not in masks:
            masks[producer] = ways.reaches(stage, producer, went)
        there = masks[producer]
        if there is not None:
            columns[name][~there] = wiring.fills[stage].get(name, 0)


def check_inputs(wiring: Wiring, inputs: Mapping[str, NDArray[Any]], rows: int | None) -> int:
    """How many requests ``inputs`` holds. Raises ValueError naming the tensor that does not fit.

    With ``rows`` given, each tensor must have as many.
    """
    for name, spec in wiring.client.items():
        if name not in inputs:
            have = ", ".join(inputs) or "none"
            raise ValueError(f"inputs lack {name!r}, which the pipeline takes; given: {have}")
        array = np.asarray(inputs[name])
        if array.shape[1:] != spec.shape or not np.can_cast(array.dtype, spec.dtype, "same_kind"):
            raise ValueError(
                f"input {name!r} must be {spec.dtype} of shape {spec.shape} a request, "
                f"not {array.dtype} of shape {array.shape[1:]}"
            )
        if rows is None:
            rows = len(array)
        if len(array) != rows:
            raise ValueError(f"input {name!r} has {len(array)} rows where others have {rows}")
    if rows == 0:
        raise ValueError("inputs hold no request; give at least one row")
    return 1 if rows is None else rows
