"""Clockwork's choice of a batch by its predicted end."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Policy, Reads, RulePolicy, State, View
from policies.due import due_ns, in_time
from policies.knobs import knob
from policies.place import Place


@dataclass(frozen=True, slots=True)
class Clockwork(RulePolicy):
    """The largest batch that is predicted to end in time for its first request goes at once; a request
    that could not be in time even alone is dropped.

    Nothing is held, and a batch is made smaller rather than late. Source: Gujarati et al., "Serving DNNs
    like clockwork: performance predictability from the bottom up", OSDI 2020, section 5.3. Clockwork runs
    the sizes that a model was compiled for, 1, 2, 4, 8 and 16: give them as ``sizes``. Not modelled: that
    it moves models between host and device memory, and schedules 5 ms ahead.
    """

    kind: ClassVar[str] = "clockwork"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.HEAD})

    sizes: tuple[int, ...] = knob(
        "sizes of batches that there are; none stands for every size", default=(), ge=1
    )
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
        """Every size fits the stage, and one request alone can always be sent."""
        for size in self.sizes:
            if size > max_batch:
                raise ValueError(f"sizes must be at most max_batch ({max_batch}), not {size}")
        if self.sizes and 1 not in self.sizes:
            raise ValueError(
                f"sizes must hold 1, or a single request could never be sent; there are {self.sizes}"
            )

    def planned(self, place: Place) -> Policy:
        """With the objective's latency, where none is given."""
        return dataclasses.replace(self, latency_ns=self.latency_ns or place.objective_ns or 0)

    @staticmethod
    def rule(
        view: View, now_ns: int, state: State, sizes: tuple[int, ...], latency_ns: int
    ) -> Answer:
        """Equation: send the largest size b up to what can be sent with now + l(b) + D(b) <= deadline of
        the head; drop the head where there is none.
        """
        until_ns = due_ns(view, latency_ns)
        count = len(sizes)
        best = 0
        for i in range(count if count else view.sendable):
            size = sizes[i] if count else i + 1
            if best < size <= view.sendable and in_time(view, now_ns, size, until_ns):
                best = size
        return (best, 0, 0) if best else (-1, 0, 0)
