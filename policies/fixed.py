"""Hold for a fixed time or a fixed size, whichever is first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Reads, RulePolicy, State, View
from policies.knobs import knob


@dataclass(frozen=True, slots=True)
class Fixed(RulePolicy):
    """Send up to ``max_batch`` once ``size`` requests wait or the oldest has waited ``delay``.

    The wait is counted from the oldest request's entry into the stage's queue, time spent while no
    replica was free included. A batch that can grow no more, because the next request would pass
    ``max_items``, goes at once.
    """

    kind: ClassVar[str] = "fixed"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    delay_ns: int = knob("longest that the oldest request is held", ge=0)
    size: int = knob("requests that end the hold; 0 stands for max_batch", default=0, ge=0)

    def check(self, max_batch: int) -> None:
        """A size beyond max_batch would never be reached by one batch."""
        check_size(self.size, max_batch)

    @staticmethod
    def rule(
        view: View,
        now_ns: int,
        state: State,
        delay_ns: int,
        size: int,
    ) -> Answer:
        """Equation: send iff waiting >= size, or now >= oldest + delay, or the batch is full."""
        return held(view, now_ns, delay_ns, size)


def held(view: View, now_ns: int, delay_ns: int, size: int) -> Answer:
    """The answer of a fixed hold, for other rules that come down to one."""
    return held_until(view, now_ns, view.oldest_enqueued_ns + delay_ns, size)


def held_until(view: View, now_ns: int, until_ns: int, size: int) -> Answer:
    """As :func:`held`, where the wait ends at a time of the rule's own."""
    target = size if size > 0 else view.max_batch
    if view.waiting >= target or view.sendable < view.waiting or now_ns >= until_ns:
        return view.sendable, 0, 0
    return 0, until_ns, target


def check_size(size: int, max_batch: int) -> None:
    """Raise ValueError where a hold waits for more requests than a batch may have."""
    if size > max_batch:
        raise ValueError(f"size must be at most max_batch ({max_batch}), not {size}")
