"""Our own default: one batch formed at the first stage travels whole, at the pace the bottleneck bears."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from policies.cadence_plan import plan_for
from policies.contract import NEVER_NS, Answer, Reads, RulePolicy, State, View
from policies.knobs import knob
from policies.place import Place

GROWTH = 4
"""A hold is thought over once the batch has grown by a fourth: the larger batch must be sent earlier."""


@dataclass(frozen=True, slots=True)
class Cadence(RulePolicy):
    """Send batches through all stages as trains, regularly, and as large as the objective allows.

    Greedy batching spends several replicas on batches of a few requests each, which cost nearly as
    much as large ones. Cadence spaces the batches of a first stage by the time that the pipeline's
    bottleneck needs for one, as if its servers were a single one that is as many times as fast; it caps
    batches at the size beyond which the objective would be missed; and later stages pass on at once what
    comes. On a chain whose stages want very different sizes, batches are formed anew, spaced and capped at
    some later stages too. It estimates no rate: the size follows from the pace, larger under more load.

    Caps and paces are planned from the pipeline's predicted service times and the objective (see
    ``policies.cadence_plan``, which has the derivation); give it to all stages. A single server spaces
    batches itself: in front of it nothing is held, and it is greedy up to the cap. Without an objective
    and without a deadline there is no cap but ``max_batch``.

    Source: our own. Spacing departures generalises greedy batching on one server, which is near its optimum
    (Deb and Serfozo, "Optimal control of batch service queues", 1973); the cap takes the place of a queue
    limit in Kingman's heavy-traffic bound.

    State: [size of the last batch].
    """

    kind: ClassVar[str] = "cadence"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.HEAD})

    utilization: float = knob(
        "share of the bottleneck's time that paced batches take; a lower one holds longer, for larger"
        " batches at a lower cost",
        default=0.8,
        gt=0,
        le=1,
    )
    margin: float = knob(
        "a hold ends when this many times the remaining service times are left of the objective",
        default=1.0,
        ge=1,
        le=100,
    )
    dispersion: float = knob(
        "arrivals that the cap is planned for: variance of their number over its mean; 1 is Poisson",
        default=2.0,
        ge=0,
        le=1000,
    )
    objective_ns: int = knob(
        "latency to stay within; 0 stands for the configuration's objective", default=0, ge=0
    )
    cap: int = knob("most requests of a batch; 0 is planned", default=0, ge=0)
    pace_ns: tuple[int, ...] = knob(
        "by size of the last batch, from 0, the shortest time to the next; none is planned",
        default=(),
        ge=0,
    )

    def initial_state(self) -> list[int]:
        """No batch was sent."""
        return [0]

    def check(self, max_batch: int) -> None:
        """A cap beyond max_batch would never be reached."""
        if self.cap > max_batch:
            raise ValueError(f"cap must be at most max_batch ({max_batch}), not {self.cap}")

    def planned(self, place: Place) -> Self:
        """With the objective, the cap and, at a first stage, the pace filled in where they were left open.

        Raises ValueError where the objective is below what a single request takes.
        """
        objective_ns = self.objective_ns or place.objective_ns
        stages = place.pipeline.stages
        cvs = tuple(place.cv(k) for k in range(len(stages)))
        plan = plan_for(place.pipeline, objective_ns, cvs, self.utilization, self.dispersion)
        own = plan.stages[place.index]
        return replace(
            self,
            objective_ns=objective_ns or 0,
            cap=self.cap or min(own.cap, place.stage.max_batch),
            pace_ns=self.pace_ns or own.pace_ns,
        )

    @staticmethod
    def rule(
        view: View,
        now_ns: int,
        state: State,
        margin: float,
        objective_ns: int,
        cap: int,
        pace_ns: tuple[int, ...],
    ) -> Answer:
        """Equation: hold while m < cap and now < min(L + pace[n], due - margin * (time here + downstream)).

        m is what fits, L when the last batch went, n its size; due is the head's deadline, or the objective
        after its arrival, whichever is first. The times are those of the size at which it is asked again.
        """
        full = min(cap, view.max_batch) if cap > 0 else view.max_batch
        size = min(view.sendable, full)
        spaced = len(pace_ns) > 0 and view.last_dispatch_ns >= 0
        if spaced and view.waiting < full and view.sendable == view.waiting:
            until_ns = view.last_dispatch_ns + pace_ns[min(state[0], len(pace_ns) - 1)]
            due_ns = view.head_deadline_ns
            if objective_ns > 0 and view.head_arrival_ns < due_ns - objective_ns:
                due_ns = view.head_arrival_ns + objective_ns
            grown = min(size + 1 + size // GROWTH, full)
            if due_ns < NEVER_NS:
                left_ns = view.service_ns[grown] + view.downstream_ns[grown]
                until_ns = min(until_ns, due_ns - int(margin * left_ns))
            if until_ns > now_ns:
                return 0, until_ns, grown
        state[0] = size
        return size, 0, 0
