"""Service levels of requests in the compiled driver; mirrors ``policies.service_level``."""

from __future__ import annotations

from typing import Any

from sim.compiled import calls, queues
from sim.compiled.jit import called, inlined
from sim.compiled.layout import SKIPPED


@inlined
def of_request(b: Any, k: int, request: int) -> int:
    """The level at which a stage serves a request."""
    return b.stage_levels[b.service_level[request], k]


@called
def choose(b: Any, now_ns: int, begin: int, end: int) -> None:
    """The service levels of the requests with these ids, which arrive now."""
    count = b.run[0].service_levels_n
    k = _most_behind(b)
    for request in range(begin, end):
        level = calls.degrade(b.run[0].choose, (b, k, now_ns, count))
        level = min(max(level, 0), count)
        b.service_level[request] = level
        for join in range(len(b.stages)):
            skipped = b.branches_skipped[level, join]
            if skipped:
                b.missing[b.stages[join].missing_at + request] += skipped * SKIPPED


@called
def _most_behind(b: Any) -> int:
    """The stage whose oldest request has waited longest; the first of several, or where none waits."""
    found = 0
    oldest_ns = queues.oldest_ns(b, 0)
    for k in range(1, len(b.stages)):
        here_ns = queues.oldest_ns(b, k)
        if here_ns < oldest_ns:
            found, oldest_ns = k, here_ns
    return found


@called
def pass_by(b: Any, k: int, now_ns: int, row: int, count: int) -> int:
    """Keeps those of a row of ``scratch`` that are to enter a stage, which the others pass by."""
    st = b.stages[k]
    kept = 0
    for i in range(count):
        request = b.scratch[row, i]
        if b.outcome[request] == 0 and of_request(b, k, request) == st.passed_at:
            if not st.is_root:
                b.moved_ns[st.entered_at + request] = now_ns
            b.left[k, st.left_n] = request
            st.left_n += 1
            b.skipped[k, st.skipped_n] = request
            b.skipped_ns[k, st.skipped_n] = now_ns
            st.skipped_n += 1
        else:
            b.scratch[row, kept] = request
            kept += 1
    return kept


@called
def alike(b: Any, k: int, count: int) -> int:
    """How many of the first ``count`` have the level of the first, up to one that has not."""
    step = queues.first(b, k)
    level = of_request(b, k, queues.request_of(b, k, step))
    found = 1
    while found < count:
        step = queues.following(b, k, step)
        if of_request(b, k, queues.request_of(b, k, step)) != level:
            break
        found += 1
    return found
