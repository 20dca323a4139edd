"""Send at once: a batch is whatever waits when a replica is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Reads, RulePolicy, State, View


@dataclass(frozen=True, slots=True)
class Immediate(RulePolicy):
    """Never hold. Known as greedy or work-conserving batching; batches grow with the queue alone."""

    kind: ClassVar[str] = "immediate"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    @staticmethod
    def rule(view: View, now_ns: int, state: State) -> Answer:
        """All that fits, now."""
        return view.sendable, 0, 0
