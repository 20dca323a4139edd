"""The requests of a run by id: what the scheduler needs to know of each."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from policies.runlog import Int64
from policies.workload import Workload


class RequestTable:
    """Columns indexed by request id, ids in order of arrival. Times are nanoseconds.

    Made whole from a workload that is known ahead, or empty and appended to as requests come.
    """

    __slots__ = ("arrival_ns", "deadline_ns", "items", "keys", "priority", "unit_items")

    def __init__(self, workload: Workload | None = None) -> None:
        self.arrival_ns: Sequence[int]
        self.deadline_ns: Sequence[int]
        self.items: Sequence[int]
        self.priority: Sequence[int]
        self.keys: Sequence[int] | None = None
        """None where requests have no keys."""
        self.unit_items: bool
        """Every request has one item, so that nothing need be summed."""
        if workload is None:
            self.arrival_ns = array("q")
            self.deadline_ns = array("q")
            self.items = array("q")
            self.priority = array("b")
            self.unit_items = False
        else:
            # A memoryview gives Python integers at a list's speed without a list's memory.
            self.arrival_ns = _int64(workload.arrival_ns).data
            self.deadline_ns = _int64(workload.deadline_ns).data
            self.items = _int64(workload.items).data
            self.priority = np.ascontiguousarray(workload.priority, np.int8).data
            if workload.keys is not None:
                self.keys = _int64(workload.keys).data
            self.unit_items = bool((workload.items == 1).all())

    def __len__(self) -> int:
        return len(self.arrival_ns)

    def append(
        self, arrival_ns: int, deadline_ns: int, items: int, priority: int, key: int | None = None
    ) -> int:
        """Add a request and return its id; for a table that was made empty (else TypeError).

        Either all requests of a table have a key, or none has (else ValueError).
        """
        if key is not None or self.keys is not None:
            self._append_key(key)
        columns = (self.arrival_ns, self.deadline_ns, self.items, self.priority)
        values = (arrival_ns, deadline_ns, items, priority)
        for column, value in zip(columns, values, strict=True):
            if not isinstance(column, array):
                raise TypeError("this table was made from a workload; it cannot grow")
            column.append(value)
        return len(self.arrival_ns) - 1

    def keyed(self) -> Sequence[int]:
        """The keys, which all requests have; of an empty table, which all must have that come.

        Raises ValueError where there are requests without.
        """
        if self.keys is None:
            if len(self.arrival_ns):
                raise ValueError(
                    "requests must be told apart by keys, and they have none; give the workload keys"
                )
            self.keys = array("q")
        return self.keys

    def _append_key(self, key: int | None) -> None:
        if self.keys is None and not len(self.arrival_ns):
            self.keys = array("q")
        if key is None or self.keys is None:
            raise ValueError("give every request a key, or none of them")
        if not isinstance(self.keys, array):
            raise TypeError("this table was made from a workload; it cannot grow")
        self.keys.append(key)


def _int64(column: Int64) -> Int64:
    return np.ascontiguousarray(column, np.int64)
