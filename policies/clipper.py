"""Clipper's adaptive batch size: additive increase, multiplicative decrease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Reads, RulePolicy, State, View
from policies.fixed import held_until
from policies.knobs import knob
from policies.receiving import first_receive_ns


@dataclass(frozen=True, slots=True)
class Clipper(RulePolicy):
    """As Clipper does: a cap on the batch grows by ``increase`` with each batch of that size that took
    no longer than ``latency_objective``, and shrinks to ``backoff`` times itself with any that did.

    The latency is that of the batch alone, time in the queue not included. A batch smaller than the cap
    says nothing of a larger one, so it lets the cap grow no further. A batch below the cap is delayed by
    ``batch_delay`` from when it could have gone, that is, from when a container was free and a request
    there. The cap is never below 1 or above ``max_batch``. Clipper keeps one for each container: give
    the stage one replica for that.

    Source: Crankshaw et al., Clipper, NSDI 2017, sections 4.3.1 (AIMD) and 4.3.2 (delay).

    State: [cap].
    """

    kind: ClassVar[str] = "clipper"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    latency_objective_ns: int = knob("longest that a batch should take", gt=0)
    increase: int = knob("how much the cap grows by", default=2, ge=1)
    backoff: float = knob("what the cap is multiplied by", default=0.9, gt=0, lt=1)
    initial: int = knob("cap at the start", default=1, ge=1)
    batch_delay_ns: int = knob("how long a batch below the cap is delayed", default=0, ge=0)

    def check(self, max_batch: int) -> None:
        """The cap starts within the stage's own."""
        if self.initial > max_batch:
            raise ValueError(f"initial must be at most max_batch ({max_batch}), not {self.initial}")

    def initial_state(self) -> list[int]:
        """The first cap."""
        return [self.initial]

    @staticmethod
    def observe_rule(
        view: View,
        now_ns: int,
        state: State,
        requests: int,
        service_ns: int,
        latency_objective_ns: int,
        increase: int,
        backoff: float,
    ) -> None:
        """Equation: cap <- max(1, floor(cap * backoff)) if service > objective; cap + increase if the
        batch was as large as the cap; else cap.
        """
        if service_ns > latency_objective_ns:
            state[0] = max(int(state[0] * backoff), 1)
        elif requests >= state[0]:
            state[0] = min(state[0] + increase, view.max_batch)

    @staticmethod
    def rule(view: View, now_ns: int, state: State, batch_delay_ns: int) -> Answer:
        """A hold for the cap, from when the batch could have gone."""
        cap = min(state[0], view.max_batch)
        until_ns = first_receive_ns(view) + batch_delay_ns
        requests, until_ns, size = held_until(view, now_ns, until_ns, cap)
        return min(requests, cap), until_ns, size
