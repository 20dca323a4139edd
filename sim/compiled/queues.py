"""Queues of the compiled driver; mirrors ``policies.queues``.

A plain queue is a stretch of the stage's row in ``sent``: requests enter at its tail and leave at its
head, so that what has left lies before the head in order of dispatch. (A root that every request enters
in order needs no row: a request's place is its id.) Where requests may leave early, or are not served in
order of entry, the queue is a linked list in order of service, with another in order of entry, and
``sent`` is written at dispatch. A request enters a stage at most once, so links are by request.
"""

from __future__ import annotations

from typing import Any

from sim.compiled.jit import called, inlined
from sim.compiled.layout import EDF, FIFO, LEVELS, NEVER, PRIORITY

NEXT, PREVIOUS, NEWER, OLDER = 0, 1, 2, 3
END = -1
AWAY = -2


@inlined
def request_at(b: Any, k: int, place: int) -> int:
    """The request at a place in order of dispatch; beyond those sent, of a plain queue."""
    if b.stages[k].implicit:
        return place
    return b.sent[k, place]


@inlined
def entered_ns(b: Any, k: int, request: int) -> int:
    """When a request that is in the queue entered it."""
    st = b.stages[k]
    if st.is_root:
        return b.arrival_ns[request]
    return b.moved_ns[st.entered_at + request]


@inlined
def oldest_ns(b: Any, k: int) -> int:
    """The earliest entry; NEVER when empty."""
    st = b.stages[k]
    if st.waiting == 0:
        return NEVER
    if not st.linked:
        return entered_ns(b, k, request_at(b, k, st.head))
    return entered_ns(b, k, st.head if st.discipline == FIFO else st.oldest)


@inlined
def newest_ns(b: Any, k: int) -> int:
    """The latest entry; NEVER when empty."""
    st = b.stages[k]
    if st.waiting == 0:
        return NEVER
    if not st.linked:
        return entered_ns(b, k, request_at(b, k, st.head + st.waiting - 1))
    return entered_ns(b, k, st.tail if st.discipline == FIFO else st.newest)


@inlined
def first(b: Any, k: int) -> int:
    """Where a walk in order of service begins: a place, or a request where linked."""
    return b.stages[k].head


@inlined
def request_of(b: Any, k: int, step: int) -> int:
    """The request of a step of the walk."""
    return step if b.stages[k].linked else request_at(b, k, step)


@inlined
def following(b: Any, k: int, step: int) -> int:
    """The next step."""
    st = b.stages[k]
    if st.linked:
        return b.links[NEXT, st.link_at + step]
    return step + 1


@inlined
def urgent(b: Any, k: int) -> int:
    """How many of level 0 are in the queue, where it is served by priority; else all."""
    st = b.stages[k]
    return st.urgent if st.leveled else st.waiting


@inlined
def level_of(b: Any, k: int, request: int) -> int:
    """The level of a request; all are of one where the queue is not served by priority."""
    return int(b.priority[request]) if b.stages[k].leveled else 0


@inlined
def limit_at(b: Any, k: int, request: int) -> int:
    """Where the limits of a request's level lie, in a limited queue."""
    st = b.stages[k]
    return st.limits_at + 3 * min(max(level_of(b, k, request), 0), st.limits_n - 1)


@inlined
def full_for(b: Any, k: int, request: int) -> bool:
    """Whether as many of a request's level wait in a limited queue as may."""
    count = b.counts[b.stages[k].counts_at + level_of(b, k, request) + LEVELS // 2]
    return count >= b.ints[limit_at(b, k, request) + 2]


@called
def link(b: Any, k: int, request: int) -> None:
    """Enter a linked queue: behind all whose key is not above this one's."""
    st = b.stages[k]
    at = st.link_at
    _join(b, k, request)
    if st.discipline == FIFO:
        return
    _count(b, k, request, 1)
    b.links[NEWER, at + request] = END
    b.links[OLDER, at + request] = st.newest
    if st.newest == END:
        st.oldest = request
    else:
        b.links[NEWER, at + st.newest] = request
    st.newest = request


@inlined
def _count(b: Any, k: int, request: int, more: int) -> None:
    """One more or one less of a request's level."""
    st = b.stages[k]
    level = level_of(b, k, request)
    if st.leveled and level <= 0:
        st.urgent += more
    if st.limits_n:
        b.counts[st.counts_at + level + LEVELS // 2] += more


@called
def put_off(b: Any, k: int, request: int) -> None:
    """Go behind the others of the same level; the order of entry stays as it is."""
    _leave(b, k, request)
    b.put_off[b.stages[k].link_at + request] = 1
    _join(b, k, request)


@inlined
def is_put_off(b: Any, k: int, request: int) -> int:
    """1 for one that is behind the others of its level, else 0."""
    st = b.stages[k]
    return int(b.put_off[st.link_at + request]) if st.limits_n else 0


@inlined
def _rank(b: Any, k: int, request: int) -> int:
    """Its place among the levels, those put off being a level of their own."""
    ways = 2 if b.stages[k].limits_n else 1
    return (level_of(b, k, request) + LEVELS // 2) * ways + is_put_off(b, k, request)


@called
def _join(b: Any, k: int, request: int) -> None:
    """Take a place in the order of service."""
    st = b.stages[k]
    at = st.link_at
    before = _before(b, k, request)
    after = st.head if before == END else b.links[NEXT, at + before]
    b.links[NEXT, at + request] = after
    b.links[PREVIOUS, at + request] = before
    if before == END:
        st.head = request
    else:
        b.links[NEXT, at + before] = request
    if after == END:
        st.tail = request
    else:
        b.links[PREVIOUS, at + after] = request


@inlined
def _before(b: Any, k: int, request: int) -> int:
    """The request that is to come before this one."""
    st = b.stages[k]
    if st.discipline == EDF:
        deadline_ns = b.deadline_ns[request & b.run[0].deadline_mask]
        before = st.tail
        while before != END:
            other_ns = b.deadline_ns[before & b.run[0].deadline_mask]
            behind = is_put_off(b, k, before) > is_put_off(b, k, request)
            if other_ns < deadline_ns or (other_ns == deadline_ns and not behind):
                break
            before = b.links[PREVIOUS, st.link_at + before]
        return before
    if st.discipline == PRIORITY:
        level = _rank(b, k, request)
        mine = level
        while level >= 0 and b.levels[st.level_at + level] == END:
            level -= 1
        before = END if level < 0 else b.levels[st.level_at + level]
        b.levels[st.level_at + mine] = request
        return before
    return st.tail


@called
def unlink(b: Any, k: int, request: int) -> None:
    """Leave a linked queue."""
    st = b.stages[k]
    at = st.link_at
    _leave(b, k, request)
    b.links[PREVIOUS, at + request] = AWAY
    if st.discipline == FIFO:
        return
    _count(b, k, request, -1)
    newer, older = b.links[NEWER, at + request], b.links[OLDER, at + request]
    if older == END:
        st.oldest = newer
    else:
        b.links[NEWER, at + older] = newer
    if newer == END:
        st.newest = older
    else:
        b.links[OLDER, at + newer] = older


@called
def _leave(b: Any, k: int, request: int) -> None:
    """Give up a place in the order of service."""
    st = b.stages[k]
    at = st.link_at
    after, before = b.links[NEXT, at + request], b.links[PREVIOUS, at + request]
    if before == END:
        st.head = after
    else:
        b.links[NEXT, at + before] = after
    if after == END:
        st.tail = before
    else:
        b.links[PREVIOUS, at + after] = before
    if st.discipline == PRIORITY:
        rank = _rank(b, k, request)
        if b.levels[st.level_at + rank] == request:
            same = before != END and _rank(b, k, before) == rank
            b.levels[st.level_at + rank] = before if same else END


@inlined
def discard(b: Any, k: int, request: int) -> bool:
    """Leave a queue without being sent, if it is there; only linked queues are left so."""
    st = b.stages[k]
    if not st.linked or b.links[PREVIOUS, st.link_at + request] == AWAY:
        return False
    unlink(b, k, request)
    b.left[k, st.left_n] = request
    st.left_n += 1
    return True


@inlined
def take(b: Any, k: int, count: int) -> int:
    """The first ``count`` leave; returns their first place in order of dispatch."""
    st = b.stages[k]
    place = st.sent_n
    st.sent_n += count
    if not st.linked:
        st.head += count
        return place
    for i in range(count):
        request = st.head
        unlink(b, k, request)
        b.sent[k, place + i] = request
    return place
