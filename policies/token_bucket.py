"""Admission at a bounded rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.admission import Admission
from policies.contract import Reads, State, View
from policies.knobs import knob


@dataclass(frozen=True, slots=True)
class TokenBucket(Admission):
    """A token bucket: requests enter at ``rate`` in the long run, and at most ``burst`` at once.

    Kept as the theoretical arrival time of the next request, as the generic cell rate algorithm has it
    (ITU-T I.371), so that it is exact in whole nanoseconds.
    """

    kind: ClassVar[str] = "token_bucket"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    rate_hz: float = knob("requests a second that enter in the long run", gt=0, le=1e9)
    burst: int = knob("requests that may enter at once after a rest", default=1, ge=1)

    def initial_state(self) -> list[int]:
        """The theoretical arrival time of the next request."""
        return [0]

    @staticmethod
    def rule(
        view: View, now_ns: int, state: State, deadline_ns: int, rate_hz: float, burst: int
    ) -> bool:
        """Equation: with gap T = 1 / rate and theoretical arrival time t, admit where
        max(t, now) - now <= (burst - 1) T, and then put t to max(t, now) + T.
        """
        gap_ns = max(1, round(1e9 / rate_hz))
        due_ns = max(state[0], now_ns)
        if due_ns - now_ns > (burst - 1) * gap_ns:
            return False
        state[0] = due_ns + gap_ns
        return True
