"""From arrivals, sizes, keys, deadlines and priorities to one workload."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from configs.model import MOST_PRIORITIES
from policies.runlog import Int8, Int64
from policies.workload import ClosedWorkload, Workload
from sim.arrivals.base import ArrivalProcess
from sim.arrivals.closed import Closed
from sim.arrivals.trace import Trace
from sim.items.base import Items
from sim.items.column import Column
from sim.keys.base import Keys
from sim.keys.column import KeyColumn
from sim.streams import stream

Arrivals = ArrivalProcess | Closed
"""The family of kinds that ``workload.arrivals`` names."""


def draw_workload(
    arrivals: Arrivals,
    items: Items | None,
    keys: Keys | None = None,
    *,
    requests: int | None = None,
    duration_ns: int | None = None,
    deadline_after_ns: int | None = None,
    priority_weights: Sequence[float] = (),
    seed: int = 0,
    replication: int = 0,
) -> Workload | ClosedWorkload:
    """The workload of one replication, a function of its arguments alone.

    ``items`` of None takes the sizes that a trace holds, else 1; ``keys`` of None gives none.
    ``priority_weights[k]`` is the share of requests of priority k, in any unit; none means that all have
    priority 0. Each part has a random stream of its own ("arrivals", "items", "keys", "priority",
    "think"), so that changing one leaves the others as they are.

    Raises ValueError for bounds that leave no end or no request, and TraceError (a ValueError) for
    recorded data that cannot be used.
    """
    if isinstance(arrivals, Closed):
        requests = arrivals.counted(requests)
        think_ns = arrivals.think_times_ns(stream(seed, replication, "think"), requests)
        sizes = _sizes(arrivals, items, requests, seed, replication)
        priority = _priorities(priority_weights, requests, seed, replication)
        named = _keys(arrivals, keys, requests, seed, replication)
        return ClosedWorkload(arrivals.clients, think_ns, sizes, priority, deadline_after_ns, named)
    arrival_ns = arrivals.times_ns(stream(seed, replication, "arrivals"), requests, duration_ns)
    count = len(arrival_ns)
    if not count:
        raise ValueError(
            "no request arrives within `requests` and `duration`; raise them or the rate"
        )
    return Workload.of(
        arrival_ns,
        deadline_after_ns=deadline_after_ns,
        items=_sizes(arrivals, items, count, seed, replication),
        priority=_priorities(priority_weights, count, seed, replication),
        keys=_keys(arrivals, keys, count, seed, replication),
    )


def _sizes(
    arrivals: Arrivals, items: Items | None, count: int, seed: int, replication: int
) -> Int64:
    recorded = isinstance(arrivals, Trace) and arrivals.items_column is not None
    if items is None:
        found = arrivals.items(count) if isinstance(arrivals, ArrivalProcess) else None
        return np.ones(count, np.int64) if found is None else found
    if recorded:
        raise ValueError("give `items` or the arrivals' `items_column`, not both")
    if isinstance(items, Column) and isinstance(arrivals, Trace) and arrivals.sort:
        raise ValueError(
            "a trace that is sorted on reading takes its sizes by the arrivals' `items_column`, "
            "or they would belong to other rows"
        )
    return items.draw(stream(seed, replication, "items"), count)


def _keys(
    arrivals: Arrivals, keys: Keys | None, count: int, seed: int, replication: int
) -> Int64 | None:
    if keys is None:
        return None
    if isinstance(keys, KeyColumn) and isinstance(arrivals, Trace) and arrivals.sort:
        raise ValueError(
            "`keys` go by the rows of their file, and a trace that is sorted on reading changes the order "
            "of its own; sort the file once and leave `sort` out"
        )
    return keys.draw(stream(seed, replication, "keys"), count)


def _priorities(weights: Sequence[float], count: int, seed: int, replication: int) -> Int8:
    if not weights:
        return np.zeros(count, np.int8)
    total = math.fsum(weights)
    if min(weights) < 0 or not 0 < total < math.inf or len(weights) > MOST_PRIORITIES:
        raise ValueError(
            f"`priorities` takes up to {MOST_PRIORITIES} weights, none below 0, not all 0; "
            f"not {list(weights)}"
        )
    chances = [weight / total for weight in weights]
    rng = stream(seed, replication, "priority")
    return rng.choice(len(weights), count, p=chances).astype(np.int8)
