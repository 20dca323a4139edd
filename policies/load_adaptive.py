"""A hold that follows the load in steps: longer while the pipeline is busy, shorter while it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Reads, RulePolicy, State, View
from policies.fixed import check_size, held
from policies.knobs import knob


@dataclass(frozen=True, slots=True)
class LoadAdaptive(RulePolicy):
    """The published rule of multi-stage delay interaction: at every tick, a load over the threshold
    raises each stage's delay by a step, any other load lowers it by a step, within bounds.

    Between ticks it is a :class:`~policies.fixed.Fixed` hold of the present delay. The load is that of
    the busiest stage, the same for all, unless ``own_load`` is set.

    State: [delay_ns].
    """

    kind: ClassVar[str] = "load_adaptive"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.ESTIMATES})

    initial_ns: int = knob("delay at the start", default=1_000_000, ge=0)
    step_ns: int = knob("how much a tick changes the delay", default=500_000, gt=0)
    threshold: float = knob("load above which the delay grows", default=0.8, ge=0, le=1)
    interval_ns: int = knob("time between ticks", default=100_000_000, gt=0)
    min_ns: int = knob("shortest delay", default=0, ge=0)
    max_ns: int = knob("longest delay", default=20_000_000, ge=0)
    size: int = knob("requests that end the hold; 0 stands for max_batch", default=0, ge=0)
    own_load: bool = knob("judge by the stage's own load, not the busiest stage's", default=False)

    def check(self, max_batch: int) -> None:
        """Bounds must be in order, and the first delay within them."""
        check_size(self.size, max_batch)
        if self.min_ns > self.max_ns:
            raise ValueError(f"min must be at most max ({self.max_ns} ns), not {self.min_ns} ns")
        if not self.min_ns <= self.initial_ns <= self.max_ns:
            raise ValueError(
                f"initial must lie between min ({self.min_ns} ns) and max ({self.max_ns} ns),"
                f" not {self.initial_ns} ns"
            )

    def initial_state(self) -> list[int]:
        """The first delay."""
        return [self.initial_ns]

    @property
    def tick_ns(self) -> int:
        """The rule's interval."""
        return self.interval_ns

    @staticmethod
    def tick_rule(
        view: View,
        now_ns: int,
        state: State,
        step_ns: int,
        threshold: float,
        min_ns: int,
        max_ns: int,
        own_load: bool,
    ) -> None:
        """Equation: delay <- clamp(delay + step if load > threshold else delay - step, min, max)."""
        load = view.load if own_load else view.pipeline_load
        moved_ns = state[0] + step_ns if load > threshold else state[0] - step_ns
        state[0] = min(max(moved_ns, min_ns), max_ns)

    @staticmethod
    def rule(view: View, now_ns: int, state: State, size: int) -> Answer:
        """A fixed hold of the present delay."""
        return held(view, now_ns, state[0], size)
