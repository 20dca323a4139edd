"""Symphony's deferred batches."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from policies.contract import NEVER_NS, Answer, Policy, Reads, RulePolicy, State, View
from policies.due import due_ns, in_time
from policies.knobs import knob
from policies.place import Place


@dataclass(frozen=True, slots=True)
class Symphony(RulePolicy):
    """A batch is deferred until one more request would make it late: it may start between its frontrun,
    d - l(b + 1), and its latest time, d - l(b), where d is the deadline of its first request.

    A batch is the longest run from the head that is in time if it starts now; a request that would be late
    even alone is dropped. Where a replica comes free within the window the batch goes at once, and where
    none does the batch shrinks. Deadlines are those end to end, less the predicted time of the stages that
    follow; without any, nothing is held.

    Source: Chen et al., "Symphony: optimized DNN model serving using deferred batch scheduling",
    arXiv 2308.07470, section 3. Of several models (here: stages) that share a device, the one whose latest
    time is first is served first, as there; of two with the same the one downstream.
    """

    kind: ClassVar[str] = "symphony"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.HEAD})

    latency_ns: int = knob(
        "time from arrival by which a request is due, beside its deadline; 0 stands for the objective",
        default=0,
        ge=0,
    )

    @property
    def sheds(self) -> bool:
        """It drops what cannot be in time."""
        return True

    def planned(self, place: Place) -> Policy:
        """With the objective's latency, where none is given."""
        return dataclasses.replace(self, latency_ns=self.latency_ns or place.objective_ns or 0)

    @staticmethod
    def rule(view: View, now_ns: int, state: State, latency_ns: int) -> Answer:
        """Equation: with b the largest size with now + l(b) + D(b) <= d, drop the head where b = 0; send b
        where it is the cap, or less than what waits, or now >= d - l(b + 1) - D(b + 1); else hold until
        then, or for one request more.
        """
        until_ns = due_ns(view, latency_ns)
        size = _largest(view, now_ns, until_ns)
        if size == 0:
            return -1, 0, 0
        if size == view.max_batch or size < view.waiting or until_ns == NEVER_NS:
            return size, 0, 0
        frontrun_ns = until_ns - view.service_ns[size + 1] - view.downstream_ns[size + 1]
        if now_ns >= frontrun_ns:
            return size, 0, 0
        return 0, frontrun_ns, view.waiting + 1

    @staticmethod
    def urgency_rule(view: View, now_ns: int, state: State, latency_ns: int) -> int:
        """Equation: d - l(b) - D(b), the latest that the batch may start; what is late goes first."""
        until_ns = due_ns(view, latency_ns)
        if until_ns == NEVER_NS:
            return NEVER_NS
        size = _largest(view, now_ns, until_ns)
        if size == 0:
            return 0
        return until_ns - view.service_ns[size] - view.downstream_ns[size]


def _largest(view: View, now_ns: int, until_ns: int) -> int:
    """The longest run from the head that is in time if it starts now; 0 where not even the head is."""
    size = view.sendable
    while size > 0 and not in_time(view, now_ns, size, until_ns):
        size -= 1
    return size
