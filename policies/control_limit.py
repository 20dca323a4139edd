"""The control limit of batch service queues, and the one that is optimal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

from policies.contract import Answer, Reads, State, View
from policies.fixed import held_until
from policies.knobs import knob
from policies.limits import paid_by_limit
from policies.place import Place
from policies.smdp_model import BatchQueue, Weights
from policies.weighed import Weighed, hold_ends_ns, patience_ns


@dataclass(frozen=True, slots=True)
class ControlLimit(Weighed):
    """Send up to ``max_batch`` as soon as the replica is idle and ``limit`` requests wait, however long
    that takes.

    With one replica, Poisson arrivals, a cost for each second that a request spends in the stage, and
    one for each batch, whose time does not depend on its size, no policy is better than the best limit
    (Deb and Serfozo, "Optimal control of batch service queues", Advances in Applied Probability 5, 1973).
    A limit of 0 stands for the best one, which is found before a run from the rate and the weights: for
    service times by size too, where the optimum, ``smdp``, may be another rule.

    The paper's stage never ends; ``delay`` is for the last requests of a run, which no later one joins.
    """

    kind: ClassVar[str] = "control_limit"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    limit: int = knob(
        "requests that a batch waits for; 0 stands for the best limit", default=0, ge=0
    )

    def check(self, max_batch: int) -> None:
        """A limit beyond max_batch is never better than max_batch, and no batch could reach it."""
        if self.limit > max_batch:
            raise ValueError(f"limit must be at most max_batch ({max_batch}), not {self.limit}")
        self.check_weights()

    def planned(self, place: Place) -> ControlLimit:
        """With the best limit, and a delay that next to never counts, where none is given."""
        limit = self.limit or best_limit(*self.problem(place))
        if self.delay_ns or (self.rate_hz or place.rate_hz) is None:
            return replace(self, limit=limit)
        return replace(self, limit=limit, delay_ns=patience_ns(self.rate_at(place), limit))

    @staticmethod
    def rule(view: View, now_ns: int, state: State, limit: int, delay_ns: int) -> Answer:
        """Equation: send what fits iff waiting >= limit, or it can grow no more, or the delay is over."""
        until_ns = hold_ends_ns(view.oldest_enqueued_ns, delay_ns)
        return held_until(view, now_ns, until_ns, max(limit, 1))


@lru_cache(maxsize=64)
def best_limit(queue: BatchQueue, weights: Weights) -> int:
    """The limit that pays least, the lower of two alike. Raises ValueError as :func:`paid_by_limit` does."""
    paid_s = paid_by_limit(queue, weights)
    return 1 + int((paid_s > paid_s.min() * (1 + 1e-12)).argmin())
