"""BentoML's adaptive batching: the rule of its CorkDispatcher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.batch_log import empty_log, fit_line, log_batch
from policies.contract import NO_SIZE, Answer, Reads, RulePolicy, State, View
from policies.knobs import knob

POLL_NS = 1_000_000
"""The dispatcher sleeps so long between two looks at its queue."""
WARM_UP = 8
"""Batches that are sent as they come, before it learns anything."""
TRAINING = WARM_UP + 3
"""Batches whose wait counts as 0; the last three are tried with 1, 2 and 3 requests."""
SKIPPED = 2
"""First batches whose time is not learnt from."""
REFRESH_NS = 5_000_000_000
"""Shortest time between two fits, but for those of the training."""
IN_FLIGHT = 64
"""Batches that may run at once and still be learnt from."""
LEAST_NS = 1_000
"""Shortest time that one more request is taken to cost."""

SENT, FINISHED, REFRESHED = 0, 1, 2
SLOPE, INTERCEPT, WAIT = 3, 4, 5
PATIENCE = 6
FLIGHT = 7
LOG = FLIGHT + 2 * IN_FLIGHT


@dataclass(frozen=True, slots=True)
class BentoMl(RulePolicy):
    """As BentoML does: it fits a line to the time of recent batches by their size, and waits while the
    next request is likely to be worth it: while n (age of the newest + 1 ms + slope) is at most 0.95
    times the mean wait of recent batches, n being the requests that wait.

    It looks once a millisecond, from the first request into an empty queue. It waits no longer once the
    oldest of several would pass ``max_latency``: its age + slope n + intercept. BentoML cancels such a
    request; a policy can only send it, so give requests a deadline and set ``expire`` for that. The first
    eight batches go as they come, the next three are tried with one, two and three requests; their
    waits count as 0. Recent batches are the last 50, the first two left out; the fit is made anew with a
    batch that ends 5 s or more after the last fit.

    BentoML's ``max_batch_size`` is the stage's ``max_batch``; as its dispatcher sends one batch at a
    time, give the stage one replica.

    Source: ``Optimizer`` and ``CorkDispatcher`` in BentoML's src/bentoml/_internal/marshal/dispatcher.py;
    bounds of src/_bentoml_sdk/method.py.

    State: [batches sent, finished; time of the last fit; slope, intercept and mean wait in ns; longest
    time of a training batch; start and wait of batches that run; log of batches].
    """

    kind: ClassVar[str] = "bentoml"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.NEWEST})

    max_latency_ns: int = knob(
        "age of the oldest request, predicted at its batch's end, that ends the wait",
        default=60_000_000_000,
        gt=0,
    )

    def check(self, max_batch: int) -> None:
        """BentoML refuses to batch single requests."""
        if max_batch < 2:
            raise ValueError(
                "bentoml needs a max_batch above 1, as BentoML's max_batch_size must be"
            )

    def initial_state(self) -> list[int]:
        """The dispatcher's first guess of the line, and empty logs."""
        state = [0] * LOG
        state[REFRESHED] = -1
        state[SLOPE] = min(2_000_000_000, self.max_latency_ns * 2 // 30)
        state[INTERCEPT] = min(1_000_000_000, self.max_latency_ns // 30)
        state[FLIGHT:LOG:2] = [-1] * IN_FLIGHT
        return state + empty_log()

    @staticmethod
    def observe_rule(view: View, now_ns: int, state: State, requests: int, service_ns: int) -> None:
        """Log the batch, and fit the line anew where the last fit is long ago."""
        slot = _slot_of(state, now_ns - service_ns)
        if slot < 0:
            return
        state[slot] = -1
        state[FINISHED] += 1
        if state[FINISHED] <= SKIPPED:
            return
        log_batch(state, LOG, requests, service_ns, state[slot + 1])
        if state[REFRESHED] < 0 or now_ns - state[REFRESHED] >= REFRESH_NS:
            state[REFRESHED] = now_ns
            _refresh(state)

    @staticmethod
    def rule(view: View, now_ns: int, state: State, max_latency_ns: int) -> Answer:
        """Ask :func:`_waits` at every look; send everything that fits where it says no."""
        # The chain of looks begins with the request that found the queue empty, or, where a batch left
        # some behind, with that batch.
        began_ns = max(view.oldest_enqueued_ns, view.last_dispatch_ns)
        busy_ns = max(view.idle_since_ns - began_ns, 0)
        first_ns = began_ns + (busy_ns + POLL_NS - 1) // POLL_NS * POLL_NS
        if now_ns < first_ns:
            return 0, first_ns, NO_SIZE
        if _waits(view, now_ns, state, max_latency_ns):
            next_ns = began_ns + ((now_ns - began_ns) // POLL_NS + 1) * POLL_NS
            return 0, next_ns, NO_SIZE
        _note_sent(view, now_ns, state, max_latency_ns)
        return view.sendable, 0, 0


def _waits(view: View, now_ns: int, state: State, max_latency_ns: int) -> bool:
    """Whether the dispatcher waits for more: in training for a size, then while it is worthwhile."""
    waiting = view.waiting
    if waiting >= view.max_batch or view.sendable < waiting:
        return False
    age_ns = now_ns - view.oldest_enqueued_ns
    if state[SENT] < TRAINING:
        size = _tried(view, state)
        done_ns = age_ns + size * state[SLOPE] + state[INTERCEPT]
        return waiting < size and done_ns <= state[PATIENCE]
    if waiting > 1 and age_ns + waiting * state[SLOPE] + state[INTERCEPT] >= max_latency_ns:
        return False
    until_next_ns = now_ns - view.newest_enqueued_ns + POLL_NS + state[SLOPE]
    return waiting * until_next_ns <= 0.95 * state[WAIT]


def _tried(view: View, state: State) -> int:
    """Requests that the present batch of the training is tried with."""
    return min(max(state[SENT] - WARM_UP + 1, 1), view.max_batch)


def _note_sent(view: View, now_ns: int, state: State, max_latency_ns: int) -> None:
    """Note the batch that goes now, and move the training on."""
    training = state[SENT] < TRAINING
    slot = FLIGHT + 2 * (state[SENT] % IN_FLIGHT)
    state[slot] = now_ns
    state[slot + 1] = 0 if training else now_ns - view.oldest_enqueued_ns
    state[SENT] += 1
    if training and state[SENT] > WARM_UP:
        _refresh(state)
        longest_ns = max_latency_ns - max_latency_ns // 20
        size = _tried(view, state)
        state[PATIENCE] = min(longest_ns, (2 * size + 1) * state[SLOPE] + state[INTERCEPT])


def _refresh(state: State) -> None:
    """Fit the line and the mean wait to the log, if there is anything in it."""
    if state[LOG] > 0:
        slope, intercept, wait = fit_line(state, LOG)
        state[SLOPE] = max(int(slope + 0.5), LEAST_NS)
        state[INTERCEPT] = max(int(intercept + 0.5), 0)
        state[WAIT] = int(wait + 0.5)


def _slot_of(state: State, sent_ns: int) -> int:
    """Where the state has the batch that went at ``sent_ns``; -1 where it has none."""
    for slot in range(FLIGHT, LOG, 2):
        if state[slot] == sent_ns:
            return slot
    return -1
