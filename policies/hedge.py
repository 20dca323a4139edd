"""Hedging: a batch that takes too long is sent once more, and the first answer counts.

Dean and Barroso 2013, "The tail at scale": a second copy that is sent only after the usual time costs a
few percent more work and cuts off the tail, as long as what makes a batch slow is of its replica and its
moment and not of the batch. The rule here is pure; ``policies.hedging`` keeps what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from policies.contract import NEVER_NS
from policies.knobs import knob

WINDOW = 1000
"""Batches that a quantile is taken over: the last so many that have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """When a batch is sent to a second replica: after a time, or after a quantile of recent times."""

    after_ns: int | None = knob("send a batch again that has run for so long", default=None, ge=0)
    quantile: float | None = knob(
        "send a batch again that has run longer, against its prediction, than this share of the last"
        " 1,000 batches",
        default=None,
        gt=0,
        le=0.999,
    )
    budget: float = knob(
        "most batches that are sent again, as a share of all", default=1.0, gt=0, le=1
    )

    def __post_init__(self) -> None:
        """One way to say when."""
        if self.after_ns is None and self.quantile is None:
            raise ValueError("needs after or quantile: when a batch has run for too long")
        if self.after_ns is not None and self.quantile is not None:
            raise ValueError("has both after and quantile; keep one of them")

    def wait_ns(self, predicted_ns: int, slowness: Sequence[float]) -> int:
        """How long a batch may run before it is sent again; ``NEVER_NS`` while too little is known.

        ``slowness`` are the times of recent batches, each divided by its :func:`unit_ns`, ascending. The
        quantile is the value of nearest rank, and needs so many batches that one lies beyond it.
        """
        if self.after_ns is not None:
            return self.after_ns
        quantile = self.quantile or 0.0
        count = len(slowness)
        if count * (1 - quantile) < 1 - 1e-9:
            return NEVER_NS
        return round(slowness[ceil(quantile * count - 1e-9) - 1] * unit_ns(predicted_ns))

    def affords(self, copies: int, batches: int) -> bool:
        """Whether another batch may be sent again, where ``copies`` of ``batches`` were."""
        return copies + 1 <= self.budget * batches


def unit_ns(predicted_ns: int) -> int:
    """What a batch's time is counted in: its predicted time; nanoseconds where that is not known."""
    return max(predicted_ns, 1)
