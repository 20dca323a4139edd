"""What a policy sees, in the compiled driver; mirrors ``policies.stage_state``."""

from __future__ import annotations

from typing import Any

from policies.contract import View
from sim.compiled import flow, queues
from sim.compiled.jit import called, inlined
from sim.compiled.layout import FIFO, NEVER


@inlined
def shown(b: Any, k: int) -> View:
    """The stage now."""
    st = b.stages[k]
    plain = st.plain != 0
    return View(
        st.waiting,
        most(b, k),
        st.waiting if b.run[0].unit_items else st.waiting_items,
        queues.oldest_ns(b, k),
        _earliest_deadline_ns(b, k) if st.reads_deadlines else NEVER,
        st.idle_n if plain else _ready_replicas(b, k),
        st.replicas,
        st.idle_since_ns,
        _next_idle_ns(b, k) if st.reads_next_idle else NEVER,
        st.last_dispatch_ns,
        st.max_batch,
        st.rate_hz,
        st.load,
        st.pipeline_load,
        b.predict_ns[st.predict_at : st.predict_at + st.max_batch + 1],
        _head_arrival_ns(b, k) if st.reads_head else NEVER,
        _head_enqueued_ns(b, k) if st.reads_head else NEVER,
        _head_deadline_ns(b, k) if st.reads_head else NEVER,
        queues.newest_ns(b, k) if st.reads_newest else NEVER,
        b.predict_ns[st.downstream_at : st.downstream_at + st.max_batch + 1],
        _batch_oldest_ns(b, k) if st.reads_batch_oldest else NEVER,
        queues.urgent(b, k) if st.reads_urgent else 0,
    )


@inlined
def own(b: Any, k: int) -> Any:
    """What belongs to the stage's policy: its state, its integer knobs, its float knobs."""
    st = b.stages[k]
    return (
        b.state[st.state_at : st.state_at + st.state_n],
        b.ints[st.ints_at : st.ints_at + st.ints_n],
        b.floats[st.floats_at : st.floats_at + st.floats_n],
    )


@inlined
def gate(b: Any, k: int) -> Any:
    """What belongs to the stage's admission, as :func:`own`."""
    st = b.stages[k]
    return (
        b.state[st.gate_state_at : st.gate_state_at + st.gate_state_n],
        b.ints[st.gate_ints_at : st.gate_ints_at + st.gate_ints_n],
        b.floats[st.gate_floats_at : st.gate_floats_at + st.gate_floats_n],
    )


@inlined
def brake(b: Any, k: int) -> Any:
    """What belongs to the stage's degradation, as :func:`own`."""
    st = b.stages[k]
    return (
        b.state[st.brake_state_at : st.brake_state_at + st.brake_state_n],
        b.ints[st.brake_ints_at : st.brake_ints_at + st.brake_ints_n],
        b.floats[st.brake_floats_at : st.brake_floats_at + st.brake_floats_n],
    )


@inlined
def most(b: Any, k: int) -> int:
    """How many can be sent as one batch."""
    st = b.stages[k]
    return min(st.waiting, st.max_batch) if st.plain else _sendable(b, k)


@called
def _sendable(b: Any, k: int) -> int:
    """How many of the first requests make one batch: by count, and by items (at least one)."""
    st = b.stages[k]
    by_count = min(st.waiting, st.max_batch)
    left = st.max_items
    fit = 0
    step = queues.first(b, k)
    while fit < by_count:
        left -= flow.items_of(b, queues.request_of(b, k, step))
        if left < 0 and fit:
            break
        fit += 1
        step = queues.following(b, k, step)
    return fit


@called
def _ready_replicas(b: Any, k: int) -> int:
    st = b.stages[k]
    if st.always_ready:
        return st.idle_n
    found = 0
    for at in range(st.device_at, st.device_at + st.device_n):
        device = b.devices[at]
        found += min(b.free[device], b.idle_on[k, device])
    return found


@called
def _earliest_deadline_ns(b: Any, k: int) -> int:
    found = NEVER
    step = queues.first(b, k)
    for _ in range(b.stages[k].waiting):
        request = queues.request_of(b, k, step)
        found = min(found, b.deadline_ns[request & b.run[0].deadline_mask])
        step = queues.following(b, k, step)
    return found


@called
def _batch_oldest_ns(b: Any, k: int) -> int:
    """The earliest entry of those that one batch would take."""
    st = b.stages[k]
    if not st.linked or st.discipline == FIFO:
        return queues.oldest_ns(b, k)
    found = NEVER
    request = st.head
    for _ in range(most(b, k)):
        found = min(found, queues.entered_ns(b, k, request))
        request = queues.following(b, k, request)
    return found


@inlined
def _head_arrival_ns(b: Any, k: int) -> int:
    if b.stages[k].waiting == 0:
        return NEVER
    return b.arrival_ns[queues.request_of(b, k, queues.first(b, k))]


@inlined
def _head_enqueued_ns(b: Any, k: int) -> int:
    if b.stages[k].waiting == 0:
        return NEVER
    return queues.entered_ns(b, k, queues.request_of(b, k, queues.first(b, k)))


@inlined
def _head_deadline_ns(b: Any, k: int) -> int:
    if b.stages[k].waiting == 0:
        return NEVER
    request = queues.request_of(b, k, queues.first(b, k))
    return b.deadline_ns[request & b.run[0].deadline_mask]


@called
def _next_idle_ns(b: Any, k: int) -> int:
    st = b.stages[k]
    found = NEVER
    for at in range(st.replica_at, st.replica_at + st.replicas):
        replica = b.replicas[at]
        if replica.batch >= 0:
            ends_ns = replica.dispatched_ns + b.predict_ns[st.predict_at + replica.requests]
            found = min(found, ends_ns)
    return found
