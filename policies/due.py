"""When the request at the head of a queue is due, and what of its time is left to this stage."""

from __future__ import annotations

from policies.contract import NEVER_NS, View


def due_ns(view: View, latency_ns: int) -> int:
    """The head's end-to-end deadline, or its arrival plus ``latency_ns`` (0: none) where that is sooner."""
    if latency_ns == 0:
        return view.head_deadline_ns
    return min(view.head_deadline_ns, view.head_arrival_ns + latency_ns)


def in_time(view: View, now_ns: int, requests: int, until_ns: int) -> bool:
    """Whether a batch of so many, sent now, is expected to be answered by ``until_ns``: by this stage's
    time and by that of those that follow, queues not counted.
    """
    if until_ns == NEVER_NS:
        return True
    return now_ns + view.service_ns[requests] + view.downstream_ns[requests] <= until_ns
