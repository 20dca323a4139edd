"""What one replica could do if it knew all arrivals: bounds that hold for every policy on one trace.

Batches are taken in order of arrival, which costs nothing: requests are alike but for when they came, so
that of two the earlier can always be served first. A batch starts when its last request is there and the
replica is free, as to start later helps nobody. Service times must be known by size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.contract import NEVER_NS
from policies.runlog import Int64

MOST_REQUESTS = 100_000
MOST_LABELS = 20_000
"""Ways to have served the same requests that are kept side by side."""


class TooLongError(ValueError):
    """A trace whose optimum would take too long; the text says what to lower."""


@dataclass(frozen=True, slots=True)
class Clairvoyant:
    """An optimum with all arrivals known."""

    value: int
    """Requests that are late, or nanoseconds of latency in all."""
    requests: int

    @property
    def mean(self) -> float:
        """The value a request: a share, or nanoseconds."""
        return self.value / self.requests


def fewest_late(arrival_ns: Int64, service_ns: Int64, objective_ns: int) -> Clairvoyant:
    """The fewest requests (n,), sorted by arrival, that are answered later than ``objective_ns`` after it,
    where a batch of b takes ``service_ns[b]`` (B + 1,). Those that are late are left to the end.

    Dynamic programming: with F[j, k] the earliest that the replica is free when the first j requests are
    settled, k of them late,

        F[j, k] = min(F[j - 1, k - 1], min_b {max(F[j - b, k], a_j) + l(b) if <= a_{j - b + 1} + objective})

    in O(n B k). A batch of requests with one left out between them is never needed: leave out its last
    instead, which may then be in a later one. Raises TooLongError.
    """
    _check(arrival_ns)
    kept = 16
    while True:
        found = _fewest_late(arrival_ns, service_ns, objective_ns, kept)
        if found is not None:
            return Clairvoyant(found, len(arrival_ns))
        kept *= 4


def at_most_late(arrival_ns: Int64, service_ns: Int64, objective_ns: int, most: int) -> bool:
    """Whether all but ``most`` requests could be in time: as :func:`fewest_late`, in one go."""
    _check(arrival_ns)
    return _fewest_late(arrival_ns, service_ns, objective_ns, most) is not None


def _fewest_late(arrival_ns: Int64, service_ns: Int64, objective_ns: int, kept: int) -> int | None:
    """None where more than ``kept`` are late."""
    count, most = len(arrival_ns), len(service_ns) - 1
    free_ns = np.full((most, kept + 1), NEVER_NS, np.int64)
    """F[j - b], the row of b = 1 first."""
    free_ns[0, 0] = 0
    takes_ns = service_ns[1:, None]
    for j in range(1, count + 1):
        b = min(most, j)
        due_ns = arrival_ns[j - b : j][::-1, None] + objective_ns
        start_ns = np.maximum(free_ns[:b], arrival_ns[j - 1])
        in_time = start_ns <= due_ns - takes_ns[:b]  # never is beyond every due time
        ends_ns = np.where(in_time, start_ns, 0) + takes_ns[:b]
        best_ns = np.where(in_time, ends_ns, NEVER_NS).min(axis=0)
        best_ns[1:] = np.minimum(best_ns[1:], free_ns[0, :-1])
        free_ns[1:] = free_ns[:-1]
        free_ns[0] = best_ns
    reached = np.flatnonzero(free_ns[0] < NEVER_NS)
    return int(reached[0]) if len(reached) else None


def least_latency(arrival_ns: Int64, service_ns: Int64) -> Clairvoyant:
    """The least latency in all of requests (n,), sorted by arrival, where a batch of b takes
    ``service_ns[b]`` (B + 1,).

    Dynamic programming over the requests served so far. Of the ways to have served them, each with a time
    at which the replica is free and a latency in all, those are kept that none other is better than in
    both. Raises TooLongError.
    """
    _check(arrival_ns)
    count, most = len(arrival_ns), len(service_ns) - 1
    arrived_ns = np.concatenate([[0], np.cumsum(arrival_ns)])
    ways: list[tuple[Int64, Int64]] = [(np.zeros(1, np.int64), np.zeros(1, np.int64))]
    for j in range(1, count + 1):
        sizes = range(1, min(most, j) + 1)
        ends, totals = [], []
        for b in sizes:
            free_ns, total_ns = ways[b - 1]
            end_ns = np.maximum(free_ns, arrival_ns[j - 1]) + service_ns[b]
            ends.append(end_ns)
            totals.append(total_ns + b * end_ns - (arrived_ns[j] - arrived_ns[j - b]))
        following_ns = arrival_ns[j] if j < count else NEVER_NS
        best = _best(np.concatenate(ends), np.concatenate(totals), int(following_ns))
        if len(best[0]) > MOST_LABELS:
            raise TooLongError(
                f"request {j} of {count} has {len(best[0]):,} ways to be reached that may be best, and at"
                f" most {MOST_LABELS:,} are kept; lower the load, max_batch or the requests"
            )
        ways = [best, *ways[: most - 1]]
    return Clairvoyant(int(ways[0][1].min()), count)


def _best(free_ns: Int64, total_ns: Int64, following_ns: int) -> tuple[Int64, Int64]:
    """Those that no other is better than in both, in order of when the replica is free."""
    # Free before the next arrival is as good as free at it.
    free_ns = np.maximum(free_ns, following_ns) if following_ns < NEVER_NS else free_ns
    order = np.lexsort((total_ns, free_ns))
    total_ns, free_ns = total_ns[order], free_ns[order]
    least_ns = np.minimum.accumulate(total_ns)
    keep: NDArray[np.bool_] = np.ones(len(order), np.bool_)
    keep[1:] = total_ns[1:] < least_ns[:-1]
    return free_ns[keep], total_ns[keep]


def _check(arrival_ns: Int64) -> None:
    if not 0 < len(arrival_ns) <= MOST_REQUESTS:
        raise TooLongError(
            f"the clairvoyant optimum takes 1 to {MOST_REQUESTS:,} requests, not {len(arrival_ns):,};"
            " give a part of them"
        )
