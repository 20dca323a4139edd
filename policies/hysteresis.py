"""Degradation by the age of the queue, with hysteresis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Reads, State, View
from policies.degrade import Degrade
from policies.knobs import knob

LEVEL, BELOW_SINCE_NS = 0, 1
"""Places in the state: the present level; since when the queue has been young, -1 while it is not."""


@dataclass(frozen=True, slots=True)
class Hysteresis(Degrade):
    """One level up for each ``raise_above`` that the oldest request has waited; one level down for each
    ``hold`` that the queue has been younger than ``lower_below``.

    The age of a queue tells overload from a burst that is being worked off, whatever the batch sizes and
    replicas (Zhou et al., "Overload control for scaling WeChat microservices", SoCC 2018). Going up at
    once and down slowly keeps the level from flapping: what is saved at a level is what makes the queue
    young. Where the policy holds batches, both bounds must lie above what it holds for.
    """

    kind: ClassVar[str] = "hysteresis"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    raise_above_ns: int = knob(
        "wait of the oldest request for each level that is gone up, at once", gt=0
    )
    lower_below_ns: int = knob("wait of the oldest request for the level to come down", ge=0)
    hold_ns: int = knob(
        "time that it must have stayed there for each level that is come down",
        default=100_000_000,
        gt=0,
    )

    def __post_init__(self) -> None:
        """Between the bounds nothing changes, so there must be something between."""
        if self.lower_below_ns >= self.raise_above_ns:
            raise ValueError(
                f"lower_below ({self.lower_below_ns / 1e6:g}ms) must be less than raise_above"
                f" ({self.raise_above_ns / 1e6:g}ms); between the two the level stays as it is"
            )

    def initial_state(self) -> list[int]:
        """Full service, of a queue that has been young all along."""
        return [0, 0]

    @staticmethod
    def rule(
        view: View,
        now_ns: int,
        state: State,
        levels: int,
        raise_above_ns: int,
        lower_below_ns: int,
        hold_ns: int,
    ) -> int:
        """Equation: with age a of the oldest request and bounds u > l, level max(L, floor(a / u)) where
        a >= u; where a <= l, and has been for time t, L - floor(t / hold); L otherwise. The age is known
        where batches are sent; where it is below l now, it was so ever since the last one was sent.
        """
        age_ns = now_ns - view.oldest_enqueued_ns
        if age_ns > lower_below_ns:
            state[BELOW_SINCE_NS] = -1
            state[LEVEL] = max(state[LEVEL], min(age_ns // raise_above_ns, levels))
            return state[LEVEL]
        if state[BELOW_SINCE_NS] < 0:
            state[BELOW_SINCE_NS] = max(view.last_dispatch_ns, 0)
        down = (now_ns - state[BELOW_SINCE_NS]) // hold_ns
        if down > 0:
            state[LEVEL] = max(state[LEVEL] - down, 0)
            state[BELOW_SINCE_NS] = now_ns
        return state[LEVEL]
