"""The optimum of one stage, as a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

from policies.contract import Answer, Reads, State, View
from policies.knobs import knob
from policies.place import Place
from policies.smdp_model import BatchQueue, Weights
from policies.smdp_solver import Optimum, solve
from policies.weighed import Weighed, hold_ends_ns, patience_ns


@dataclass(frozen=True, slots=True)
class Smdp(Weighed):
    """What is optimal for one replica under Poisson arrivals at ``rate``: how many to send, or to wait for
    one more, by the number that waits.

    A request pays ``latency_weight`` times its latency + ``busy_weight`` times the replica's time for it +
    its share of the ``batch_cost`` + ``excess_weight`` times the excess: the requests in the stage beyond
    those that come within the objective, which by Little's law stands for latency beyond it. The optimum
    is found before a run, from a semi-Markov decision process by relative value iteration; service times
    are taken to be gamma with the stage's mean by size and its coefficient of variation.

    Source: Xu, Zhou and Niu, SMDP-based dynamic batching for efficient inference on GPU-based platforms,
    arXiv 2301.12865; Puterman, Markov Decision Processes, 1994, chapter 11.
    """

    kind: ClassVar[str] = "smdp"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    table: tuple[int, ...] = knob(
        "for a queue of 0, 1, 2, ... how many to send, 0 for waiting, the last for all beyond; none stands"
        " for the optimum",
        default=(),
        ge=0,
    )

    def check(self, max_batch: int) -> None:
        """A table sends no more than waits or fits, and something in the end."""
        for waiting, sent in enumerate(self.table):
            if sent > min(waiting, max_batch):
                raise ValueError(
                    f"table sends {sent} of {waiting} waiting requests; send at most"
                    f" {min(waiting, max_batch)}"
                )
        if self.table and self.table[-1] == 0:
            raise ValueError("table ends in 0, so that a long queue waits for ever; end it above 0")
        self.check_weights()

    def planned(self, place: Place) -> Smdp:
        """With the optimal table, and a delay that next to never counts, where none is given."""
        table = self.table or optimum(*self.problem(place)).table
        if self.delay_ns or (self.rate_hz or place.rate_hz) is None:
            return replace(self, table=table)
        return replace(self, table=table, delay_ns=patience_ns(self.rate_at(place), len(table)))

    @staticmethod
    def rule(
        view: View, now_ns: int, state: State, table: tuple[int, ...], delay_ns: int
    ) -> Answer:
        """Equation: send table[waiting]; where that is 0, hold until the next entry that is not, unless
        the batch can grow no more or the delay is over. Without a table send what fits.
        """
        last = len(table) - 1
        if last < 1:
            return view.sendable, 0, 0
        sent = table[min(view.waiting, last)]
        if sent > 0:
            return min(sent, view.sendable), 0, 0
        until_ns = hold_ends_ns(view.oldest_enqueued_ns, delay_ns)
        full = view.waiting >= view.max_batch or view.sendable < view.waiting
        if full or now_ns >= until_ns:
            return view.sendable, 0, 0
        size = view.waiting + 1
        while size < last and table[size] == 0:
            size += 1
        return 0, until_ns, min(size, view.max_batch)


@lru_cache(maxsize=64)
def optimum(queue: BatchQueue, weights: Weights) -> Optimum:
    """As :func:`solve`, once for each problem."""
    return solve(queue, weights)
