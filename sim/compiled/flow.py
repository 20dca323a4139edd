"""How requests move between queues in the compiled driver; mirrors ``policies.flow``.

Lists of requests stand in the rows of ``scratch``: ``ENTERING`` those on their way into a queue,
``PASSING`` those that a batch hands on.
"""

from __future__ import annotations

from typing import Any

from policies.runlog import Outcome
from sim.compiled import bits, calls, levels, queues
from sim.compiled.jit import called, inlined
from sim.compiled.layout import (
    DONE,
    EXPIRED,
    FULL,
    GIVEN_UP,
    GONE,
    LATE,
    LEVEL_FULL,
    NEVER,
    REFUSED,
    SKIPPED,
    UNABLE,
)

ENTERING, PASSING = 0, 1
_COMPLETED = int(Outcome.COMPLETED)
_SHED = int(Outcome.SHED)
_EXPIRED = int(Outcome.EXPIRED)


@inlined
def ready(b: Any, k: int) -> bool:
    """Whether a batch could start now, on some replica."""
    st = b.stages[k]
    if st.always_ready or st.idle_n == 0:
        return st.idle_n != 0
    for at in range(st.device_at, st.device_at + st.device_n):
        device = b.devices[at]
        if b.free[device] > 0 and b.idle_on[k, device] > 0:
            return True
    return False


@inlined
def items_of(b: Any, request: int) -> int:
    """How many items a request has."""
    return 1 if b.run[0].unit_items else b.items[request]


@inlined
def entered(b: Any, k: int, count: int) -> None:
    """So many have joined the queue; its policy is asked if its hold has its size."""
    st = b.stages[k]
    run = b.run[0]
    st.waiting += count
    if run.estimates:
        st.entered += count
    if (
        st.waiting >= st.wake_size
        or (not st.plain and _full(b, k) and ready(b, k))
        or (st.limits_n and st.wake_size != UNABLE and lapses_ns(b, k) < st.wake_ns)
    ):
        run.dirty |= 1 << k


@inlined
def _full(b: Any, k: int) -> bool:
    st = b.stages[k]
    return (st.waiting if b.run[0].unit_items else st.waiting_items) >= st.max_items


@inlined
def join_queue(b: Any, k: int, request: int, now_ns: int) -> None:
    """One request takes its place; :func:`entered` then counts them."""
    st = b.stages[k]
    if not st.is_root:
        b.moved_ns[st.entered_at + request] = now_ns
    if st.linked:
        queues.link(b, k, request)
    elif not st.implicit:
        b.sent[k, st.tail] = request
        st.tail += 1
    if not b.run[0].unit_items:
        st.waiting_items += b.items[request]


@called
def arrive(b: Any, now_ns: int, begin: int, end: int) -> None:
    """Requests reach the pipeline: those with these ids."""
    run = b.run[0]
    if run.choose:
        levels.choose(b, now_ns, begin, end)
    for k in range(len(b.stages)):
        st = b.stages[k]
        if not st.is_root:
            continue
        if st.implicit:
            if not run.unit_items:
                for request in range(begin, end):
                    st.waiting_items += b.items[request]
            entered(b, k, end - begin)
        else:
            for i in range(end - begin):
                b.scratch[ENTERING, i] = begin + i
            enter(b, k, now_ns, end - begin)


@called
def enter(b: Any, k: int, now_ns: int, count: int) -> None:
    """The ``ENTERING`` join a queue, as far as they may."""
    st = b.stages[k]
    if st.passed_at:
        if st.gone_n:
            count = _keep_wanted(b, k, count)
        count = levels.pass_by(b, k, now_ns, ENTERING, count)
        if count == 0:
            return
    if st.admit or st.limits_n:
        _enter_one_by_one(b, k, now_ns, count)
        return
    if st.guarded or _filters(b):
        count = _admit(b, k, now_ns, count)
        if count == 0:
            return
    for i in range(count):
        join_queue(b, k, b.scratch[ENTERING, i], now_ns)
    entered(b, k, count)


@called
def _enter_one_by_one(b: Any, k: int, now_ns: int, count: int) -> None:
    """Of the ``ENTERING``, those that the stage's limits and its admission let in, as these see each after
    the one before.
    """
    st = b.stages[k]
    for i in range(count):
        request = b.scratch[ENTERING, i]
        b.scratch[ENTERING, 0] = request
        if _admit(b, k, now_ns, 1) == 0:
            continue
        if st.limits_n and queues.full_for(b, k, request):
            drop(b, request, now_ns, _SHED, LEVEL_FULL, k)
            continue
        deadline_ns = b.deadline_ns[request & b.run[0].deadline_mask]
        if not st.admit or calls.admit(st.admit, (b, k, now_ns, deadline_ns)):
            join_queue(b, k, request, now_ns)
            entered(b, k, 1)
        else:
            drop(b, request, now_ns, _SHED, REFUSED, k)


@called
def _admit(b: Any, k: int, now_ns: int, count: int) -> int:
    """Keeps those of the ``ENTERING`` that may enter, and drops the others."""
    st = b.stages[k]
    run = b.run[0]
    if _filters(b):
        count = _keep_undropped(b, ENTERING, count)
    if st.gone_n:
        count = _keep_wanted(b, k, count)
    if run.expire:
        for i in range(count):
            request = b.scratch[ENTERING, i]
            if b.deadline_ns[request & run.deadline_mask] <= now_ns:
                drop(b, request, now_ns, _EXPIRED, LATE, k)
        count = _keep_undropped(b, ENTERING, count)
    room = max(st.queue_bound - st.waiting, 0)
    for i in range(room, count):
        drop(b, b.scratch[ENTERING, i], now_ns, _SHED, FULL, k)
    return min(count, room)


@inlined
def _filters(b: Any) -> bool:
    """Whether a request that is handed on may have been dropped elsewhere."""
    run = b.run[0]
    return run.forked and run.dropped


@called
def _keep_undropped(b: Any, row: int, count: int) -> int:
    kept = 0
    for i in range(count):
        request = b.scratch[row, i]
        if b.outcome[request] == 0:
            b.scratch[row, kept] = request
            kept += 1
    return kept


@called
def _keep_wanted(b: Any, k: int, count: int) -> int:
    """Those of the ``ENTERING`` that have not gone on without this stage."""
    st = b.stages[k]
    kept = 0
    for i in range(count):
        request = b.scratch[ENTERING, i]
        wanted = True
        for at in range(st.gone_at, st.gone_at + st.gone_n):
            join = b.stages[b.giving[at]]
            if b.missing[join.missing_at + request] >= GONE:
                wanted = False
        if wanted:
            b.scratch[ENTERING, kept] = request
            kept += 1
    return kept


@inlined
def pass_on(b: Any, k: int, now_ns: int, place: int, count: int) -> None:
    """A batch is done: its requests, from this place in order of dispatch, go to the next stages."""
    st = b.stages[k]
    run = b.run[0]
    if st.child_n == 0 and run.sinks == 1 and not _filters(b):
        _finish_all(b, k, now_ns, place, count)
    elif st.child_n == 1 and _may_slide(b, b.children[st.child_at]):
        _slide(b, k, b.children[st.child_at], now_ns, place, count)
    else:
        _pass_on_with_care(b, k, now_ns, place, count)


@inlined
def _may_slide(b: Any, child: int) -> bool:
    """Whether all that comes to a stage enters it, at the tail."""
    to = b.stages[child]
    run = b.run[0]
    if to.linked or to.guarded or to.parents > 1 or _filters(b):
        return False
    return run.unit_items != 0


@inlined
def _slide(b: Any, k: int, child: int, now_ns: int, place: int, count: int) -> None:
    """From one row of ``sent`` to another."""
    to = b.stages[child]
    tail, at = to.tail, to.entered_at
    implicit = b.stages[k].implicit
    for i in range(count):
        request = place + i if implicit else b.sent[k, place + i]
        b.sent[child, tail + i] = request
        b.moved_ns[at + request] = now_ns
    to.tail = tail + count
    entered(b, child, count)


@inlined
def _finish_all(b: Any, k: int, now_ns: int, place: int, count: int) -> None:
    """At a pipeline's only end."""
    run = b.run[0]
    implicit = b.stages[k].implicit
    for i in range(count):
        request = place + i if implicit else b.sent[k, place + i]
        b.moved_ns[request] = now_ns
        if run.expire:
            b.outcome[request] = _COMPLETED
    run.ended += count
    if run.closed:
        think(b, now_ns, count)


@called
def _pass_on_with_care(b: Any, k: int, now_ns: int, place: int, count: int) -> None:
    st = b.stages[k]
    for i in range(count):
        b.scratch[PASSING, i] = queues.request_at(b, k, place + i)
    if _filters(b):
        count = _keep_undropped(b, PASSING, count)
    for at in range(st.child_at, st.child_at + st.child_n):
        child = b.children[at]
        joined = 0
        for i in range(count):
            request = b.scratch[PASSING, i]
            if b.stages[child].parents == 1 or _joins(b, child, request, now_ns):
                b.scratch[ENTERING, joined] = request
                joined += 1
        if joined:
            enter(b, child, now_ns, joined)
    if st.child_n == 0:
        for i in range(count):
            _finish(b, now_ns, b.scratch[PASSING, i])


@inlined
def _joins(b: Any, child: int, request: int, now_ns: int) -> bool:
    """One parent of several is done with a request: whether it goes on now."""
    st = b.stages[child]
    at = st.missing_at + request
    if b.missing[at] >= GONE:
        return False
    b.missing[at] += 1
    done = b.missing[at] & DONE
    if done == st.parents:
        return True
    if done >= _needed_by(b, child, request) or _overdue(b, child, request, now_ns):
        _go_on(b, child, request)
        return True
    return False


@inlined
def _needed_by(b: Any, child: int, request: int) -> int:
    """How many branches a request waits for: no more than will come."""
    st = b.stages[child]
    return min(st.needed, st.parents - b.missing[st.missing_at + request] // SKIPPED)


@called
def skip(b: Any, k: int, now_ns: int, count: int) -> int:
    """Of the first ``count`` of a linked queue, those that another branch may answer for go on at the join
    without the stage. Returns how many are left to be served, which then come first.
    """
    st = b.stages[k]
    child = st.skip_join
    to = b.stages[child]
    going = served = 0
    request = st.head
    for _ in range(count):
        here = request
        request = queues.following(b, k, here)
        at = to.missing_at + here
        if to.parents - b.missing[at] // SKIPPED < 2:
            served += 1
            continue
        _taken_out(b, k, here)
        b.skipped[k, st.skipped_n] = here
        b.skipped_ns[k, st.skipped_n] = now_ns
        st.skipped_n += 1
        b.missing[at] += SKIPPED
        done = b.missing[at] & DONE
        if done and done >= _needed_by(b, child, here):
            _go_on(b, child, here)
            b.scratch[ENTERING, going] = here
            going += 1
    if going:
        enter(b, child, now_ns, going)
    return served


@inlined
def _overdue(b: Any, child: int, request: int, now_ns: int) -> bool:
    st = b.stages[child]
    return st.within_ns != NEVER and b.arrival_ns[request] + st.within_ns <= now_ns


@called
def _go_on(b: Any, child: int, request: int) -> None:
    """A request does without the branches that are late; their work is given up."""
    st = b.stages[child]
    b.missing[st.missing_at + request] = GONE
    for at in range(st.lost_at, st.lost_at + st.lost_n):
        k = b.giving[at]
        leave_queue(b, k, request)
        if b.stages[k].parents > 1:
            b.missing[b.stages[k].missing_at + request] = GONE


@called
def merge_due_ns(b: Any) -> int:
    """When a request's time may be up at a join, passing by those that have gone on."""
    run = b.run[0]
    found = NEVER
    for k in range(len(b.stages)):
        st = b.stages[k]
        if st.parents < 2 or st.within_ns == NEVER:
            continue
        while st.due_at < run.cursor and _is_over(b, k, st.due_at):
            st.due_at += 1
        if st.due_at < run.cursor:
            found = min(found, b.arrival_ns[st.due_at] + st.within_ns)
    return found


@inlined
def _is_over(b: Any, k: int, request: int) -> bool:
    """Whether a request has nothing more to do with a join."""
    st = b.stages[k]
    done = b.missing[st.missing_at + request]
    return done >= GONE or (done & DONE) >= st.parents or b.outcome[request] != 0


@called
def merge(b: Any, now_ns: int) -> None:
    """Let requests go on without the branches that are late; mirrors ``policies.alarms``."""
    run = b.run[0]
    for k in range(len(b.stages)):
        st = b.stages[k]
        if st.parents < 2 or st.within_ns == NEVER:
            continue
        count = 0
        while st.due_at < run.cursor and b.arrival_ns[st.due_at] + st.within_ns <= now_ns:
            request = st.due_at
            st.due_at += 1
            if not _is_over(b, k, request) and b.missing[st.missing_at + request] & DONE:
                _go_on(b, k, request)
                b.scratch[ENTERING, count] = request
                count += 1
        if count:
            enter(b, k, now_ns, count)


@called
def awaits_merge(b: Any) -> bool:
    """Whether a request waits at a join for its time to be up."""
    run = b.run[0]
    for k in range(len(b.stages)):
        st = b.stages[k]
        if st.parents < 2 or st.within_ns == NEVER:
            continue
        for request in range(st.due_at, run.cursor):
            if not _is_over(b, k, request) and b.missing[st.missing_at + request] & DONE:
                return True
    return False


@inlined
def _finish(b: Any, now_ns: int, request: int) -> None:
    run = b.run[0]
    if run.sinks > 1:
        b.sinks_done[request] += 1
        if b.sinks_done[request] < run.sinks:
            return
    b.outcome[request] = _COMPLETED
    b.moved_ns[request] = now_ns
    run.ended += 1
    if run.closed:
        think(b, now_ns, 1)


@called
def drop(b: Any, request: int, now_ns: int, outcome: int, reason: int, k: int) -> None:
    """A request ends here without an answer, and everywhere else that it waits."""
    if b.outcome[request]:
        return
    run = b.run[0]
    b.outcome[request] = outcome
    b.why[request] = reason * 64 + k
    if run.forked:
        for stage in range(len(b.stages)):
            leave_queue(b, stage, request)
    b.moved_ns[request] = now_ns
    run.dropped += 1
    run.ended += 1
    if run.closed:
        think(b, now_ns, 1)


@called
def _taken_out(b: Any, k: int, request: int) -> bool:
    """Whether a request was in a queue, which it has left; nobody is asked again for that."""
    if not queues.discard(b, k, request):
        return False
    st = b.stages[k]
    st.waiting -= 1
    if not b.run[0].unit_items:
        st.waiting_items -= b.items[request]
    return True


@called
def leave_queue(b: Any, k: int, request: int) -> bool:
    """Take one request out of a queue, if it is there."""
    st = b.stages[k]
    if not _taken_out(b, k, request):
        return False
    if st.wake_size != UNABLE:
        # Its hold counted on this one: ask again, and set the timer anew.
        st.wake_size = 1
        b.run[0].dirty |= 1 << k
    return True


@called
def shed(b: Any, k: int, now_ns: int, count: int) -> None:
    """The first ``count`` of a linked queue end here, as its policy says."""
    st = b.stages[k]
    for i in range(count):
        request = st.head
        b.scratch[ENTERING, i] = request
        _taken_out(b, k, request)
    for i in range(count):
        drop(b, b.scratch[ENTERING, i], now_ns, _SHED, GIVEN_UP, k)


@called
def lapse(b: Any, k: int, now_ns: int) -> None:
    """Put off or drop those in a limited queue whose time there is over, in the order of entry."""
    st = b.stages[k]
    if st.shortest_ns == NEVER:
        return
    count = 0
    request = st.oldest
    while request >= 0:
        at_ns = queues.entered_ns(b, k, request)
        if at_ns + st.shortest_ns >= now_ns:
            break
        timeout_ns = b.ints[queues.limit_at(b, k, request)]
        if timeout_ns and at_ns + timeout_ns < now_ns and not queues.is_put_off(b, k, request):
            b.scratch[ENTERING, count] = request
            count += 1
        request = b.links[queues.NEWER, st.link_at + request]
    dropped = 0
    for i in range(count):
        request = b.scratch[ENTERING, i]
        if b.ints[queues.limit_at(b, k, request) + 1]:
            queues.put_off(b, k, request)
            continue
        b.scratch[ENTERING, dropped] = request
        dropped += 1
        _taken_out(b, k, request)
    for i in range(dropped):
        drop(b, b.scratch[ENTERING, i], now_ns, _SHED, GIVEN_UP, k)


@called
def lapses_ns(b: Any, k: int) -> int:
    """When a request will have been in a limited queue for longer than it may."""
    st = b.stages[k]
    if st.shortest_ns == NEVER:
        return NEVER
    found = NEVER - 1
    request = st.oldest
    while request >= 0:
        at_ns = queues.entered_ns(b, k, request)
        if at_ns + st.shortest_ns >= found:
            break
        timeout_ns = b.ints[queues.limit_at(b, k, request)]
        if timeout_ns and not queues.is_put_off(b, k, request):
            found = min(found, at_ns + timeout_ns)
        request = b.links[queues.NEWER, st.link_at + request]
    return found + 1


@called
def expire(b: Any, now_ns: int) -> None:
    """Drop the requests that are in a queue at their deadline; mirrors ``policies.alarms``."""
    run = b.run[0]
    while expiry_ns(b) <= now_ns:
        request = deadline_at(b, run.expiry_at)
        run.expiry_at += 1
        if b.outcome[request] == 0 and request < run.cursor:
            for k in range(len(b.stages)):
                if leave_queue(b, k, request):
                    drop(b, request, now_ns, _EXPIRED, EXPIRED, k)


@inlined
def deadline_at(b: Any, place: int) -> int:
    """The request at a place in the order of deadlines."""
    return b.by_deadline[place] if len(b.by_deadline) else place


@called
def expiry_ns(b: Any) -> int:
    """The next deadline that may matter, passing by those of requests that have ended.

    Not by the very last: until it has come, a run in which all is held is not given up.
    """
    run = b.run[0]
    if not run.expire:
        return NEVER
    end = min(run.cursor, run.finite) if run.closed else run.finite
    while run.expiry_at < end - 1 and b.outcome[deadline_at(b, run.expiry_at)]:
        run.expiry_at += 1
    if run.expiry_at >= end:
        return NEVER
    return b.deadline_ns[deadline_at(b, run.expiry_at) & run.deadline_mask]


@called
def think(b: Any, now_ns: int, clients: int) -> None:
    """So many clients of a closed loop are free to think of their next request."""
    run = b.run[0]
    for _ in range(min(clients, run.total - run.sent)):
        bits.push(b.thinking, run.think_n, now_ns + b.think_ns[run.sent], run.sent)
        run.think_n += 1
        run.sent += 1
