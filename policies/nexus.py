"""Nexus's dispatch with early drop."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Policy, Reads, RulePolicy, State, View
from policies.due import due_ns, in_time
from policies.knobs import knob
from policies.place import Place


@dataclass(frozen=True, slots=True)
class Nexus(RulePolicy):
    """Early drop: requests whose own time is too short for a batch of the target size are dropped, so
    that the batches of those that stay are large. Nothing is held.

    A window of the target size (or of what waits, where that is less) slides over the queue and stops at
    the first request with time enough for the whole batch; those before it are dropped. The time is the
    end-to-end deadline less the predicted time of the stages that follow, which stands for the share of
    the latency that Nexus's planner gives to each stage of a query.

    Source: Shen et al., "Nexus: a GPU cluster engine for accelerating DNN-based video analysis", SOSP 2019,
    section 6.3. Not modelled: its placement of models on devices.
    """

    kind: ClassVar[str] = "nexus"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.HEAD})

    batch: int = knob("target size of a batch; 0 stands for max_batch", default=0, ge=0)
    latency_ns: int = knob(
        "time from arrival by which a request is due, beside its deadline; 0 stands for the objective",
        default=0,
        ge=0,
    )

    @property
    def sheds(self) -> bool:
        """It drops what cannot be in time."""
        return True

    def check(self, max_batch: int) -> None:
        """The target fits the stage."""
        if self.batch > max_batch:
            raise ValueError(f"batch must be at most max_batch ({max_batch}), not {self.batch}")

    def planned(self, place: Place) -> Policy:
        """With the objective's latency, where none is given."""
        return dataclasses.replace(self, latency_ns=self.latency_ns or place.objective_ns or 0)

    @staticmethod
    def rule(view: View, now_ns: int, state: State, batch: int, latency_ns: int) -> Answer:
        """Equation: with b the lesser of target and what can be sent, drop the head where
        now + l(b) + D(b) is beyond its deadline, else send b.
        """
        size = view.sendable if batch == 0 else min(view.sendable, batch)
        if in_time(view, now_ns, size, due_ns(view, latency_ns)):
            return size, 0, 0
        return -1, 0, 0
