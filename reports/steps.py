"""Counts that change over time: how many of a set of intervals cover each instant.

Intervals are half-open, [start, end): at the instant at which one ends and another starts, one is
counted. An interval of no length covers nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import Int64


@dataclass(frozen=True, slots=True)
class Steps:
    """A step function of time: ``level[i]`` from ``times_ns[i]`` up to ``times_ns[i + 1]``, 0 before.

    ``times_ns`` (k,) is strictly increasing; ``level`` is (k,), or (k, c) for c functions.
    """

    times_ns: Int64
    level: Int64


def cover(starts_ns: Int64, ends_ns: Int64) -> Steps:
    """How many of the intervals [starts_ns[i], ends_ns[i]) cover each instant."""
    count = len(starts_ns)
    times = np.concatenate([starts_ns, ends_ns])
    change = np.concatenate([np.ones(count, np.int64), np.full(count, -1, np.int64)])
    return accumulate(times, change)


def accumulate(times_ns: Int64, change: Int64) -> Steps:
    """The running sum of changes (k,), or of several side by side (k, c); one step an instant."""
    # A stable sort is a merge here: the input is a few sorted stretches, one after another.
    order = np.argsort(times_ns, kind="stable")
    times = times_ns[order]
    level = np.cumsum(change[order], axis=0)
    last = np.ones(len(times), np.bool_)
    np.not_equal(times[1:], times[:-1], out=last[:-1])
    return Steps(times[last], level[last])


def union(starts_ns: Int64, ends_ns: Int64) -> tuple[Int64, Int64]:
    """Starts and ends of the disjoint intervals that cover the same instants."""
    order = np.argsort(starts_ns, kind="stable")
    starts = starts_ns[order]
    reach = np.maximum.accumulate(ends_ns[order])
    opens = np.ones(len(starts), np.bool_)
    np.greater(starts[1:], reach[:-1], out=opens[1:])
    closes = np.roll(opens, -1)
    return starts[opens], reach[closes]


def overlap_ns(starts_ns: Int64, ends_ns: Int64, from_ns: int, to_ns: int) -> int:
    """Total length of the intervals inside [from_ns, to_ns), each counted on its own."""
    inside = np.minimum(ends_ns, to_ns) - np.maximum(starts_ns, from_ns)
    return int(np.maximum(inside, 0).sum())


def longest_level(steps: Steps) -> tuple[int, int]:
    """The highest level and when it was first reached; (0, 0) where there is no step."""
    if len(steps.level) == 0:
        return 0, 0
    at = int(np.argmax(steps.level))
    return int(steps.level[at]), int(steps.times_ns[at])


def mean_level(starts_ns: Int64, ends_ns: Int64, edges_ns: Int64) -> NDArray[np.float64]:
    """Mean number of intervals that cover an instant of each bin between ``edges_ns`` (b + 1,).

    The integral of the count up to T is sum over starts of (T - s)+ less sum over ends of (T - e)+.
    """
    opened, closed = _ramp(starts_ns, edges_ns), _ramp(ends_ns, edges_ns)
    mean: NDArray[np.float64] = np.diff(opened - closed) / np.diff(edges_ns)
    return mean


def _ramp(times_ns: Int64, at_ns: Int64) -> NDArray[np.float64]:
    """Sum over all times of max(0, at - time), for each ``at``."""
    times = np.sort(times_ns)
    passed = np.searchsorted(times, at_ns, side="right")
    # In floats: the sum of many times may pass what an int64 holds.
    sums = np.concatenate([[0.0], np.cumsum(times, dtype=np.float64)])
    ramp: NDArray[np.float64] = passed * at_ns.astype(np.float64) - sums[passed]
    return ramp
