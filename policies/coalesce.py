"""Coalescing: identical requests that are at a stage together are computed once, and all get the answer.

Known as request collapsing or single flight: nginx's ``proxy_cache_lock``, Varnish's request coalescing, Go's
``singleflight``. Requests are identical where their keys are equal. What is run of a batch is decided by
:func:`fold`, which is pure; :class:`Flight` keeps who waits for an answer that is under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from policies.knobs import knob


@dataclass(frozen=True, slots=True, kw_only=True)
class Coalesce:
    """Requests of one key in a batch are computed once."""

    in_flight: bool = knob(
        "a request whose key is in a batch that runs waits for its answer instead of queueing",
        default=False,
    )


class Fold(NamedTuple):
    """A batch in which some requests are alike."""

    computed: Sequence[int]
    """The first request of each key, in the batch's order: what is run."""
    rows: Sequence[int]
    """For each request of the batch, which of those has its answer."""


def fold(requests: Sequence[int], keys: Sequence[int]) -> Fold | None:
    """What is to be run of a batch, given the keys of all requests by id; None where all differ."""
    row_of: dict[int, int] = {}
    computed: list[int] = []
    rows: list[int] = []
    for request in requests:
        key = keys[request]
        row = row_of.setdefault(key, len(computed))
        if row == len(computed):
            computed.append(request)
        rows.append(row)
    return Fold(computed, rows) if len(computed) < len(rows) else None


class Rider(NamedTuple):
    """A request that waits for the answer of a batch that it is not in."""

    request: int
    entered_ns: int
    row: int
    """Which of the requests that are computed has its answer."""


class Flight:
    """The keys that are being computed at one stage, and who waits for them besides."""

    __slots__ = ("_keys", "_riders", "_under_way")

    def __init__(self, keys: Sequence[int]) -> None:
        self._keys = keys
        self._under_way: dict[int, tuple[int, int]] = {}
        """Key to (number of the batch that computes it, row there)."""
        self._riders: dict[int, list[Rider]] = {}
        """By number of the batch."""

    def sent(self, batch: int, computed: Sequence[int]) -> None:
        """A batch has been sent, of which these requests are computed."""
        self._riders[batch] = []
        for row, request in enumerate(computed):
            self._under_way[self._keys[request]] = batch, row

    def waits(self, request: int) -> bool:
        """Whether the request's answer is under way."""
        return self._keys[request] in self._under_way

    def boarded(self, entered_ns: int, requests: Sequence[int]) -> Sequence[int]:
        """Requests enter: those whose answer is under way wait for it; returns the others."""
        others = []
        for request in requests:
            found = self._under_way.get(self._keys[request])
            if found is None:
                others.append(request)
            else:
                self._riders[found[0]].append(Rider(request, entered_ns, found[1]))
        return others if len(others) < len(requests) else requests

    def riders(self, batch: int) -> Sequence[Rider]:
        """Who waits for a batch."""
        return self._riders.get(batch, ())

    def ended(self, batch: int, computed: Sequence[int]) -> Sequence[Rider]:
        """The batch is over, by an answer or without one; those who waited for it."""
        for request in computed:
            del self._under_way[self._keys[request]]
        return self._riders.pop(batch)
