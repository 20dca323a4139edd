"""The rule of LitServe's batches: windows that follow on one another while a worker is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Reads, RulePolicy, State, View
from policies.fixed import held_until
from policies.knobs import knob

_TIMEOUT_NS = 30_000_000_000
"""LitServe's default ``timeout``, which a ``batch_timeout`` must not exceed."""


@dataclass(frozen=True, slots=True)
class LitServe(RulePolicy):
    """As LitServe does: a free worker collates for ``batch_timeout`` from when it began, whether
    anything waits or not, and sends what it has then, or once its batch is full.

    A window that stays empty is followed by the next. So a request that finds its worker free waits
    for what is left of the running window, less than ``batch_timeout``; one that waited for a busy
    worker waits a whole window more. LitServe's ``max_batch_size`` is the stage's ``max_batch``,
    ``workers_per_device`` its ``replicas``, ``timeout`` a deadline with ``expire``.

    Source: ``collate_requests`` in LitServe's src/litserve/loops/base.py; bounds of api.py.
    """

    kind: ClassVar[str] = "litserve"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    batch_timeout_ns: int = knob("length of a window", default=0, ge=0, le=_TIMEOUT_NS)

    @staticmethod
    def rule(view: View, now_ns: int, state: State, batch_timeout_ns: int) -> Answer:
        """Equation: send iff waiting >= max_batch, or the window of the oldest request is over."""
        if batch_timeout_ns == 0:
            return view.sendable, 0, 0
        entered_ns = view.idle_since_ns
        windows = max(view.oldest_enqueued_ns - entered_ns, 0) // batch_timeout_ns
        return held_until(view, now_ns, entered_ns + (windows + 1) * batch_timeout_ns, 0)
