"""The batching decorator of Ray Serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Reads, RulePolicy, State, View
from policies.knobs import knob
from policies.receiving import first_receive_ns

LOOKS = 16
"""Looks at the queue within a timeout, while the replica is busy and its loop is free."""
LEAST_TICK_NS = 10_000
MOST_CLOSED = 1024
"""Closed batches that wait for the replica; beyond them none is closed, a load that no replica holds."""

OPEN, OPENED, HELD, LOOKED = 0, 1, 2, 3
FIRST, CLOSED = 4, 5
SIZES = 6


@dataclass(frozen=True, slots=True)
class RayServe(RulePolicy):
    """Ray Serve's ``@serve.batch``: a batch is closed when it is full, or ``batch_wait_timeout`` after its
    first request was taken from the queue; closed batches go one after another.

    The loop that closes batches takes the next first request as soon as the batch before is closed, so
    with ``blocks: false`` (a function that awaits its model) batches are closed while another runs, and
    do not grow while they wait for it. A function that computes on the replica's event loop, as those of
    Ray's guide do, stops that loop too: then what comes meanwhile is taken when the batch has ended, and
    held for the whole timeout, unless the batch fills. But what a full batch left behind was taken
    before: its time is over by then, and it goes without what has come since.

    Ray Serve's ``max_batch_size`` is the stage's ``max_batch``; ``max_concurrent_batches`` is 1, its
    default. Every replica of Ray Serve has a queue of its own, so that the figures are Ray Serve's for
    ``replicas: 1``. Source: ray-project/ray, ``python/ray/serve/batching.py``, ``_BatchQueue``.

    While the replica is busy and its loop free, the queue is looked at 16 times in a timeout: a request
    that comes around the end of one may be counted to the wrong side of it.

    State: [requests in the open batch; when it was opened; requests in it and in closed batches; time of
    the last look; place of the first closed batch; closed batches; their sizes, in a ring].
    """

    kind: ClassVar[str] = "ray_serve"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.NEWEST})

    batch_wait_timeout_ns: int = knob("longest wait for a batch to fill", ge=0)
    blocks: bool = knob(
        "whether the batched function stops its event loop while it runs", default=True
    )

    def initial_state(self) -> list[int]:
        """Nothing taken from the queue."""
        return [0] * (SIZES + MOST_CLOSED)

    @property
    def tick_ns(self) -> int:
        """Never, where nothing happens while the replica is busy."""
        if self.blocks or self.batch_wait_timeout_ns == 0:
            return 0
        return max(self.batch_wait_timeout_ns // LOOKS, LEAST_TICK_NS)

    @staticmethod
    def tick_rule(view: View, now_ns: int, state: State, batch_wait_timeout_ns: int) -> None:
        """Close batches while the replica is busy."""
        _take(view, now_ns, state, batch_wait_timeout_ns, blocks=False)

    @staticmethod
    def rule(
        view: View, now_ns: int, state: State, batch_wait_timeout_ns: int, blocks: bool
    ) -> Answer:
        """Equation: send the first closed batch; close the open one iff it is full, or
        now >= opened + batch_wait_timeout.
        """
        if batch_wait_timeout_ns == 0 and not blocks:
            # Each is closed as it comes; together go only those that came together to an idle replica.
            together = view.oldest_enqueued_ns >= view.idle_since_ns
            return view.sendable if together else 1, 0, 0
        if view.sendable < min(view.waiting, view.max_batch):
            _forget(state)  # it can grow no more: max_items
            return view.sendable, 0, 0
        ends_ns = _opened_ns(view, state, blocks) + batch_wait_timeout_ns
        closed = state[CLOSED] > 0 and view.waiting >= state[HELD]
        if not closed and view.waiting < view.max_batch and now_ns < ends_ns:
            return 0, ends_ns, view.max_batch
        _take(view, now_ns, state, batch_wait_timeout_ns, blocks)
        return min(_pop(state), view.sendable), 0, 0


def _opened_ns(view: View, state: State, blocks: bool) -> int:
    """When the batch at the head of the queue was opened, where none is closed."""
    if state[OPEN] > 0 and view.waiting >= state[HELD]:
        return state[OPENED]
    return first_receive_ns(view) if blocks else view.oldest_enqueued_ns


def _take(view: View, now_ns: int, state: State, timeout_ns: int, blocks: bool) -> None:
    """Put all that waits into batches, as the loop would have done by now, and close what is over."""
    if view.waiting < state[HELD]:
        _forget(state)  # some left the queue otherwise
    left = view.waiting - state[HELD]
    if state[OPEN] > 0:
        ends_ns = state[OPENED] + timeout_ns
        over = view.idle_since_ns >= ends_ns if blocks else now_ns >= ends_ns
        if over:
            late = left if blocks else min(left, 1 if view.newest_enqueued_ns > ends_ns else 0)
            left -= _fill(view, state, left - late)
            _close(state)
    while left > 0:
        if state[OPEN] == 0:
            state[OPENED] = _first_ns(view, now_ns, state, left, blocks)
        filled = _fill(view, state, left)
        if filled == 0:
            break
        left -= filled
        if state[OPEN] >= view.max_batch:
            _close(state)
    if state[OPEN] > 0 and now_ns >= state[OPENED] + timeout_ns:
        _close(state)
    state[LOOKED] = now_ns


def _first_ns(view: View, now_ns: int, state: State, left: int, blocks: bool) -> int:
    """When the first of the last ``left`` requests was taken."""
    if state[HELD] == 0:
        return first_receive_ns(view) if blocks else view.oldest_enqueued_ns
    if blocks:
        return now_ns
    if left == 1:
        return view.newest_enqueued_ns
    return (max(state[LOOKED], view.oldest_enqueued_ns) + view.newest_enqueued_ns) // 2


def _fill(view: View, state: State, requests: int) -> int:
    """Add so many to the open batch, as far as they fit; how many did."""
    added = min(requests, view.max_batch - state[OPEN])
    state[OPEN] += added
    state[HELD] += added
    return added


def _close(state: State) -> None:
    """Close the open batch, if there is room."""
    if state[CLOSED] < MOST_CLOSED:
        state[SIZES + (state[FIRST] + state[CLOSED]) % MOST_CLOSED] = state[OPEN]
        state[CLOSED] += 1
        state[OPEN] = 0


def _pop(state: State) -> int:
    """The first closed batch, which goes."""
    requests = state[SIZES + state[FIRST]]
    state[FIRST] = (state[FIRST] + 1) % MOST_CLOSED
    state[CLOSED] -= 1
    state[HELD] -= requests
    return requests


def _forget(state: State) -> None:
    """Nothing is taken any more."""
    state[OPEN] = state[HELD] = state[CLOSED] = 0
