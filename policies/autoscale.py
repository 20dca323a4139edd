"""Autoscaling: how many replicas a stage should have, by what those that it has are doing.

The rule is that of Kubernetes' HorizontalPodAutoscaler, ``desired = ceil(current * metric / target)``,
left alone while the ratio is within a tolerance of 1, and lowered only to the most that was advised
within a stabilisation window. The metric is the share of replicas that are busy, or, as Ray Serve's
``target_ongoing_requests`` has it, the requests per replica that wait or run. Replicas that are still
starting count as current and do nothing, so that the same shortage is not answered twice. The rule here is
pure; ``policies.autoscaling`` measures and acts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from policies.knobs import knob

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscale:
    """When a stage gets more replicas, or fewer."""

    target: float | None = knob(
        "share of the replicas that should be busy", default=None, gt=0, le=1
    )
    target_ongoing: float | None = knob(
        "or requests per replica that should wait or run", default=None, gt=0
    )
    min: int = knob("fewest replicas", default=1, ge=1, le=10_000)
    max: int = knob("most replicas", ge=1, le=10_000)
    interval_ns: int = knob(
        "time between decisions, and that is measured over", default=15 * _SECOND_NS, gt=0
    )
    cold_start_ns: int = knob(
        "time that a new replica takes to start, in a simulation", default=0, ge=0, le=_DAY_NS
    )
    scale_down_delay_ns: int = knob(
        "how long fewer replicas must have been enough", default=300 * _SECOND_NS, ge=0, le=_DAY_NS
    )
    tolerance: float = knob(
        "how far from the target nothing is changed, as a share of it", default=0.1, ge=0, lt=1
    )

    def __post_init__(self) -> None:
        """One target, and bounds in order."""
        if self.target is None and self.target_ongoing is None:
            raise ValueError("needs target or target_ongoing: what a replica should be doing")
        if self.target is not None and self.target_ongoing is not None:
            raise ValueError("has both target and target_ongoing; keep one of them")
        if self.min > self.max:
            raise ValueError(f"min must be at most max ({self.max}), not {self.min}")

    def desired(self, current: int, demand: float) -> int:
        """Replicas for so much to do: busy replicas, or requests that wait or run, on average.

        ``current`` are those that are there or are starting.
        """
        goal = self.target or self.target_ongoing or 1.0
        ratio = demand / (current * goal) if current else float("inf")
        if abs(ratio - 1) <= self.tolerance:
            return self.bounded(current)
        # Less a rounding error: 3 * 0.7 / 0.7 are 3 replicas, not 4.
        return self.bounded(ceil(demand / goal - 1e-9))

    def bounded(self, replicas: int) -> int:
        """Within ``min`` and ``max``."""
        return min(max(replicas, self.min), self.max)

    def settled(self, current: int, advised: Iterable[int]) -> int:
        """What to do, given what was advised within ``scale_down_delay``, the last advice last: more at
        once, fewer only as far as all of that time allows.
        """
        recent = list(advised)
        return recent[-1] if recent[-1] >= current else min(current, max(recent))
