"""Admission of those alone that are expected to be on time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.admission import Admission
from policies.contract import NEVER_NS, Reads, State, View
from policies.knobs import knob


@dataclass(frozen=True, slots=True)
class PredictedLateness(Admission):
    """A request enters where it is expected to be answered by its deadline, by way of the batches that are
    ahead of it, and the stages that follow this one.

    Sheds at the door what would be late anyway (Zhou et al., "Overload control for scaling WeChat
    microservices", SoCC 2018, discuss why there). Queues downstream and holds are not foreseen;
    ``margin`` makes room for them.
    """

    kind: ClassVar[str] = "predicted_lateness"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.NEXT_IDLE})

    margin_ns: int = knob("time that must be left at the predicted end", default=0, ge=0)

    @staticmethod
    def rule(view: View, now_ns: int, state: State, deadline_ns: int, margin_ns: int) -> bool:
        """Equation: with w waiting, cap B and R replicas, s + floor(floor(w / B) / R) l(B) + l(n) + D(n)
        plus the margin must not be beyond the deadline, where s is when a replica is expected to be
        idle, n = 1 + w mod B the batch that it would make, D the time downstream.
        """
        if deadline_ns == NEVER_NS:
            return True
        starts_ns = now_ns
        if view.idle_replicas == 0 and view.next_idle_ns != NEVER_NS:
            starts_ns = max(now_ns, view.next_idle_ns)
        ahead = view.waiting // view.max_batch
        rounds = ahead // max(view.replicas, 1)
        size = 1 + view.waiting % view.max_batch
        serves_ns = rounds * view.service_ns[view.max_batch] + view.service_ns[size]
        return starts_ns + serves_ns + view.downstream_ns[size] + margin_ns <= deadline_ns
