"""When a worker that takes its requests off a queue itself begins to collect a batch."""

from __future__ import annotations

from policies.contract import View


def first_receive_ns(view: View) -> int:
    """When the free worker received the first request of the batch that it collects.

    That is at once where one waited when the worker came free, else at the first arrival after. One
    worker collects at a time: where several are free, the next begins when the one before has sent.
    """
    return max(view.oldest_enqueued_ns, view.idle_since_ns, view.last_dispatch_ns)
