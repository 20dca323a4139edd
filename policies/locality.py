"""Locality: a request goes to a replica that has served its key of late, and waits for it, but not long.

A replica keeps what it served last (embeddings of users or items) in a cache, so that a batch costs less
where its keys are held. Delay scheduling, Zaharia et al., "Delay scheduling: a simple technique for achieving
locality and fairness in cluster scheduling", EuroSys 2010: when a worker comes free, the job at the head of
the queue that has no data there is passed over for a bounded time, after which it goes anywhere.

The rule here is pure; ``policies.caches`` keeps what the replicas hold and how long heads have waited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from policies.knobs import knob

_LONGEST_NS = 86_400_000_000_000
"""A day."""


class Choice(NamedTuple):
    """A batch, and where it goes."""

    replica: int
    requests: Sequence[int]
    """In the order of the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """What replicas hold, what it costs where they do not, and how long the head waits for one that does."""

    cache: int = knob("keys that each replica holds: the last that it served", ge=1, le=100_000_000)
    miss_ns: int = knob(
        "time added to a batch by each key that its replica does not hold (simulation only)",
        default=0,
        ge=0,
        le=_LONGEST_NS,
    )
    wait_ns: int = knob(
        "how long the head of the queue is passed over for want of a replica that holds its key",
        default=0,
        ge=0,
        le=_LONGEST_NS,
    )
    look: int = knob(
        "waiting requests, from the head, that a batch is chosen from", default=256, ge=1, le=65_536
    )

    def choose(
        self,
        queue: Iterable[int],
        count: int,
        holders: Callable[[int], int],
        idle: int,
        overdue: bool,
    ) -> Choice | None:
        """Which of the waiting requests, at most ``count``, make the next batch, and on which replica; None
        where all of them wait for replicas that are busy.

        ``holders(request)`` and ``idle`` are replicas as bits: those that hold its key, and those that could
        start a batch. ``overdue`` says that the head has waited for long enough.

        The batch is led by the first request that need not wait: its key is held by an idle replica, or by
        none at all. It goes to the lowest replica that holds the leader's key (else the lowest), and takes
        along, in order, those that come after the leader and whose key is held there, or nowhere. A head that
        is overdue leads the first ``count`` of the queue, whoever holds their keys.
        """
        first = list(islice(queue, max(count, self.look)))
        if overdue or not self.wait_ns:
            return Choice(_lowest(holders(first[0]) & idle or idle), first[:count])
        for place, leader in enumerate(first):
            held = holders(leader)
            if not held or held & idle:
                replica = _lowest(held & idle or idle)
                here = 1 << replica
                along = (request for request in first[place:] if (holders(request) or here) & here)
                return Choice(replica, list(islice(along, count)))
        return None


def _lowest(replicas: int) -> int:
    return (replicas & -replicas).bit_length() - 1
