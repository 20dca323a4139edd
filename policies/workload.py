"""What is asked of a pipeline: requests with arrival times, sizes, deadlines and priorities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from policies.contract import NEVER_NS
from policies.runlog import Int8, Int64


@dataclass(frozen=True, slots=True)
class Workload:
    """An open-loop workload: arrivals come when they come. One row a request, sorted by arrival.

    ``arrival_ns`` is non-decreasing and starts at 0 or later. ``deadline_ns`` is ``NEVER_NS`` where
    there is none. ``items`` is at least 1. A lower ``priority`` number is served first. ``keys``, where
    there are any, say whom or what each request is about.
    """

    arrival_ns: Int64
    deadline_ns: Int64
    items: Int64
    priority: Int8
    keys: Int64 | None = None

    def __len__(self) -> int:
        return len(self.arrival_ns)

    @staticmethod
    def of(
        arrival_ns: Int64,
        *,
        deadline_after_ns: int | None = None,
        items: Int64 | None = None,
        priority: Int8 | None = None,
        keys: Int64 | None = None,
    ) -> Workload:
        """A workload from arrival times; sizes default to 1, priorities to 0, keys to none."""
        n = len(arrival_ns)
        deadline = (
            np.full(n, NEVER_NS, np.int64)
            if deadline_after_ns is None
            else arrival_ns + np.int64(deadline_after_ns)
        )
        return Workload(
            arrival_ns,
            deadline,
            np.ones(n, np.int64) if items is None else items,
            np.zeros(n, np.int8) if priority is None else priority,
            keys,
        )


@dataclass(frozen=True, slots=True)
class ClosedWorkload:
    """A closed loop: each client thinks, sends, waits for its answer, and thinks again.

    The n-th request to be sent waits ``think_ns[n]`` after its client became free (at 0 for the first
    ``clients`` requests), has ``items[n]``, ``priority[n]`` and, where there are keys, ``keys[n]``, and is
    due ``deadline_after_ns`` after its arrival.
    """

    clients: int
    think_ns: Int64
    items: Int64
    priority: Int8
    deadline_after_ns: int | None = None
    keys: Int64 | None = None

    def __len__(self) -> int:
        return len(self.think_ns)
