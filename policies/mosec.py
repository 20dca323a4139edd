"""The rule of mosec's batches: a wait from the first receive of a free worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Reads, RulePolicy, State, View
from policies.fixed import held_until
from policies.knobs import knob
from policies.receiving import first_receive_ns


@dataclass(frozen=True, slots=True)
class Mosec(RulePolicy):
    """As mosec does: a free worker receives one request, then more until its batch is full or
    ``max_wait_time`` has passed since that first receive.

    Time in the queue while all workers were busy does not count. mosec's ``max_batch_size`` is the
    stage's ``max_batch``, ``num`` its ``replicas``, ``--capacity`` its ``queue_bound``, ``--timeout``
    a deadline with ``expire``.

    Source: ``get_batch`` in mosec's src/protocol.rs; ``append_worker`` in mosec/server.py.
    """

    kind: ClassVar[str] = "mosec"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    max_wait_time_ns: int = knob(
        "longest wait from the first receive; 0 stands for wait", default=0, ge=0
    )
    wait_ns: int = knob("the server's --wait, for a max_wait_time of 0", default=10_000_000, ge=0)

    @staticmethod
    def rule(view: View, now_ns: int, state: State, max_wait_time_ns: int, wait_ns: int) -> Answer:
        """Equation: send iff waiting >= max_batch, or now >= first receive + wait."""
        # mosec takes a wait of 0 for one that was not given, so only --wait 0 makes it greedy.
        longest_ns = max_wait_time_ns if max_wait_time_ns > 0 else wait_ns
        return held_until(view, now_ns, first_receive_ns(view) + longest_ns, 0)
