"""The compiled loop over events; mirrors ``policies.scheduler`` and ``sim.simpy_driver``.

It returns when the run is over, and also when a table is about to be full: all of its state stands in
the board, so that it goes on where it was when it is called again with longer ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.compiled import alarms, bits, calls, flow, levels, queues, service, views
from sim.compiled.jit import called, inlined
from sim.compiled.layout import MORE, MOST_SIZE, NEVER, NONSENSE, OVER, UNABLE

_NUMBER_BITS = 40
"""The code of a running batch is its stage, and in so many bits its number."""
_NUMBER = (1 << _NUMBER_BITS) - 1


@called
def loop(b: Any) -> int:
    """Run until all requests have ended, none can any more, or there is something to be seen to."""
    run = b.run[0]
    while run.ended < run.total:
        if run.short:
            return MORE
        now_ns = _next_ns(b)
        if now_ns == NEVER:
            break
        run.now_ns = now_ns
        _bring(b, now_ns)
        while run.heap_n and b.heap[0].at_ns == now_ns:
            code = b.heap[0].code
            bits.pop(b.heap, run.heap_n)
            run.heap_n -= 1
            _finished(b, now_ns, code >> _NUMBER_BITS, code & _NUMBER)
        for k in range(len(b.stages)):
            if b.stages[k].wake_ns <= now_ns:
                run.dirty |= 1 << k
        if run.estimates or run.ticking or run.merges or run.expire:
            _run_due(b, now_ns)
        if run.dirty and not _decide(b, now_ns):
            return NONSENSE
        if _is_stuck(b):
            break
    return OVER


@inlined
def _next_ns(b: Any) -> int:
    """When the next event falls."""
    run = b.run[0]
    next_ns = b.heap[0].at_ns if run.heap_n else NEVER
    if run.closed:
        if run.think_n:
            next_ns = min(next_ns, b.thinking[0].at_ns)
    elif run.cursor < run.requests:
        if run.together:
            next_ns = min(next_ns, b.arrival_ns[run.requests - 1])
        else:
            next_ns = min(next_ns, b.arrival_ns[run.cursor])
    for k in range(len(b.stages)):
        st = b.stages[k]
        next_ns = min(next_ns, st.wake_ns, st.next_tick_ns)
        if st.is_root and run.together and st.wake_size < MOST_SIZE:
            # The arrival that gives its hold the size.
            last = run.cursor + st.wake_size - st.waiting - 1
            if last < run.requests:
                next_ns = min(next_ns, b.arrival_ns[last])
    if run.estimates:
        next_ns = min(next_ns, run.ends_ns)
    if run.merges:
        next_ns = min(next_ns, flow.merge_due_ns(b))
    if run.expire:
        next_ns = min(next_ns, flow.expiry_ns(b))
    return next_ns


@inlined
def _bring(b: Any, now_ns: int) -> None:
    """All arrivals up to now."""
    run = b.run[0]
    begin = run.cursor
    if run.closed:
        while run.think_n and b.thinking[0].at_ns <= now_ns:
            _send(b, now_ns, b.thinking[0].code)
    else:
        cursor = begin
        while cursor < run.requests and b.arrival_ns[cursor] <= now_ns:
            cursor += 1
        run.cursor = cursor
    if run.cursor > begin:
        flow.arrive(b, now_ns, begin, run.cursor)


@called
def _send(b: Any, now_ns: int, number: int) -> None:
    """A client of a closed loop is done with its thought."""
    run = b.run[0]
    bits.pop(b.thinking, run.think_n)
    run.think_n -= 1
    request = run.cursor
    b.arrival_ns[request] = now_ns
    if run.deadline_after_ns != NEVER:
        b.deadline_ns[request] = now_ns + run.deadline_after_ns
    if not run.unit_items:
        b.items[request] = b.asked_items[number]
    b.priority[request] = b.asked_priority[number]
    run.cursor += 1


@inlined
def _finished(b: Any, now_ns: int, k: int, batch: int) -> None:
    st = b.stages[k]
    run = b.run[0]
    index = b.batches[k, batch].replica
    replica = b.replicas[st.replica_at + index]
    place, count, dispatched_ns = replica.first, replica.requests, replica.dispatched_ns
    replica.batch = -1
    replica.ended_ns = now_ns
    if run.estimates:
        alarms.ran(b, k, dispatched_ns, now_ns)
    if not st.always_ready:
        _free_slot(b, k, now_ns, index)
    else:
        bits.set_bit(b.words, st.word_at, index)
        st.idle_n += 1
        if st.idle_n == 1:
            st.idle_since_ns = now_ns
            if st.waiting or st.is_root:
                run.dirty |= 1 << k
            else:
                st.wake_size = 1
    if st.observe:
        _observe(b, now_ns, k, count, now_ns - dispatched_ns)
    flow.pass_on(b, k, now_ns, place, count)


@called
def _observe(b: Any, now_ns: int, k: int, requests: int, service_ns: int) -> None:
    st = b.stages[k]
    calls.observe(st.observe, (b, k, now_ns, requests, service_ns))
    alarms.ask_again(b, k)


@called
def _free_slot(b: Any, k: int, now_ns: int, index: int) -> None:
    """A replica and its device's slot come free; stages that could not start a batch may now."""
    st = b.stages[k]
    device = b.replicas[st.replica_at + index].on_device
    unready = 0
    for other in range(len(b.stages)):
        if not flow.ready(b, other):
            unready |= 1 << other
    bits.set_bit(b.words, st.word_at, index)
    st.idle_n += 1
    b.idle_on[k, device] += 1
    b.free[device] += 1
    for other in range(len(b.stages)):
        if (unready >> other) & 1 and flow.ready(b, other):
            b.stages[other].idle_since_ns = now_ns
            b.run[0].dirty |= 1 << other


@called
def _run_due(b: Any, now_ns: int) -> None:
    """Close estimation windows, then tick policies, then merge what there is, then let requests expire, as
    far as due.
    """
    if b.run[0].estimates:
        alarms.close_windows(b, now_ns)
    if b.run[0].ticking:
        alarms.tick(b, now_ns)
    if b.run[0].merges:
        flow.merge(b, now_ns)
    if b.run[0].expire:
        flow.expire(b, now_ns)


@inlined
def _decide(b: Any, now_ns: int) -> bool:
    """Ask the policies of the stages that are to be asked, downstream first; False for nonsense."""
    run = b.run[0]
    k = len(b.stages) - 1
    while k >= 0:
        if (run.dirty >> k) & 1:
            asked = _most_urgent(b, now_ns, k) if b.stages[k].rivals else k
            run.dirty ^= 1 << asked
            if not _decide_stage(b, now_ns, asked):
                return False
            if run.dirty >> k:
                # What was shed here has left the queue of another branch, or another's turn came first.
                k = len(b.stages)
        k -= 1
    return True


@called
def _most_urgent(b: Any, now_ns: int, k: int) -> int:
    """Of the stages that are to be asked and contend with this one for a device, the one whose policy is in
    the greatest hurry; of several the one downstream.
    """
    run = b.run[0]
    first, least = k, NEVER
    for other in range(len(b.stages)):
        st = b.stages[other]
        if (b.stages[k].rivals & run.dirty) >> other & 1 and st.waiting and flow.ready(b, other):
            urgency = calls.urgency(st.urgency, (b, other, now_ns))
            if urgency < least or (urgency == least and other > first):
                first, least = other, urgency
    return first


@inlined
def _decide_stage(b: Any, now_ns: int, k: int) -> bool:
    st = b.stages[k]
    while flow.ready(b, k):
        if st.limits_n:
            flow.lapse(b, k, now_ns)
        if st.waiting == 0:
            st.wake_size = 1
            st.wake_ns = NEVER
            return True
        count, until_ns, size = calls.ask(st.ask, (b, k, now_ns))
        if count == 0 and until_ns > now_ns and size > st.waiting:
            st.wake_ns = min(until_ns, flow.lapses_ns(b, k)) if st.limits_n else until_ns
            st.wake_size = min(size, MOST_SIZE)
            return True
        if 0 < count <= views.most(b, k):
            _start(b, now_ns, k, levels.alike(b, k, count) if st.by_request else count)
        elif count < 0 and st.sheds and -count <= st.waiting:
            flow.shed(b, k, now_ns, -count)
        else:
            _note_nonsense(b, k, count, until_ns, size)
            return False
        if st.rivals and flow.ready(b, k):
            b.run[0].dirty |= 1 << k  # another may be in a greater hurry now
            return True
    st.wake_size = UNABLE
    st.wake_ns = NEVER
    return True


@inlined
def _start(b: Any, now_ns: int, k: int, count: int) -> None:
    """Send the first ``count`` requests of the queue; or let them go on without the stage, where its
    degradation says so.
    """
    st = b.stages[k]
    run = b.run[0]
    level = 0
    if st.degrade:
        level = _level(b, now_ns, k)
    elif st.by_request:
        level = levels.of_request(b, k, queues.request_of(b, k, queues.first(b, k)))
    st.last_dispatch_ns = now_ns
    if level and level == st.skips_at:
        count = flow.skip(b, k, now_ns, count)
        if count == 0:
            return
        level -= 1
    place = queues.take(b, k, count)
    st.waiting -= count
    items = count
    if not run.unit_items:
        items = 0
        for i in range(count):
            items += b.items[queues.request_at(b, k, place + i)]
        st.waiting_items -= items
    number = st.batches
    st.batches = number + 1
    index = _pick(b, k)
    bits.clear_bit(b.words, st.word_at, index)
    st.idle_n -= 1
    replica = b.replicas[st.replica_at + index]
    if not st.always_ready:
        b.idle_on[k, replica.on_device] -= 1
        b.free[replica.on_device] -= 1
    rested_ns = -1 if replica.ended_ns < 0 else now_ns - replica.ended_ns
    time_ns = service.time_ns(b, k, number, count, items, rested_ns)
    if st.degrade or st.by_request:
        b.graded[k, number] = level
        if level:
            time_ns = int(np.rint(time_ns * b.floats[st.costs_at + level - 1]))
    ends_ns = now_ns + time_ns
    replica.batch = number
    replica.first = place
    replica.requests = count
    replica.dispatched_ns = now_ns
    batch = b.batches[k, number]
    batch.dispatched_ns = now_ns
    batch.finished_ns = ends_ns
    batch.requests = count
    batch.replica = index
    batch.items = items
    bits.push(b.heap, run.heap_n, ends_ns, (k << _NUMBER_BITS) | number)
    run.heap_n += 1
    if st.batches + st.replicas > b.batches.shape[1]:
        run.short = 1  # the next pass may start a batch on each replica


@called
def _level(b: Any, now_ns: int, k: int) -> int:
    """The level of a batch that is sent now."""
    most = b.stages[k].levels_n
    return min(max(calls.degrade(b.stages[k].degrade, (b, k, now_ns, most)), 0), most)


@inlined
def _pick(b: Any, k: int) -> int:
    """The lowest idle replica whose device has a free slot."""
    st = b.stages[k]
    if st.always_ready or st.device_n == 1:
        return bits.first_bit(b.words, st.word_at, st.word_n)
    for index in range(st.replicas):
        device = b.replicas[st.replica_at + index].on_device
        if bits.get_bit(b.words, st.word_at, index) and b.free[device] > 0:
            return index
    return -1


@called
def _note_nonsense(b: Any, k: int, count: int, until_ns: int, size: int) -> None:
    run = b.run[0]
    view = views.shown(b, k)
    run.answer_stage = k
    run.answer_n = count
    run.answer_until_ns = until_ns
    run.answer_size = size
    b.seen[0] = view.waiting
    b.seen[1] = view.sendable
    b.seen[2] = view.waiting_items
    b.seen[3] = view.oldest_enqueued_ns
    b.seen[4] = view.earliest_deadline_ns
    b.seen[5] = view.idle_replicas
    b.seen[6] = view.replicas
    b.seen[7] = view.idle_since_ns
    b.seen[8] = view.next_idle_ns
    b.seen[9] = view.last_dispatch_ns
    b.seen[10] = view.max_batch
    b.seen[11] = view.head_arrival_ns
    b.seen[12] = view.head_enqueued_ns
    b.seen[13] = view.head_deadline_ns
    b.seen[14] = view.newest_enqueued_ns
    b.seen[15] = view.batch_oldest_ns
    b.seen[16] = view.urgent


@inlined
def _is_stuck(b: Any) -> bool:
    """Nothing runs, nothing is to come and no hold ends: what waits waits for ever."""
    run = b.run[0]
    if run.heap_n or run.ended >= run.total:
        return False
    if run.think_n if run.closed else run.cursor < run.requests:
        return False
    for k in range(len(b.stages)):
        if b.stages[k].wake_ns != NEVER:
            return False
    if run.merges and flow.awaits_merge(b):
        return False
    return not run.expire or flow.expiry_ns(b) == NEVER
