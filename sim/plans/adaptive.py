"""A hold that follows the load."""

from __future__ import annotations

from dataclasses import dataclass

from configs.model import Config
from policies.load_adaptive import LoadAdaptive
from sim.plans.base import Spot, shares_of, with_policy

_SHARES = (0.1, 0.25, 0.5)
"""Of the objective that falls to a stage: the longest hold."""
_STEPS = 16
"""From no hold to the longest."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """``load_adaptive`` at all stages, from no hold up to the longest of :data:`_SHARES` that does best."""

    name: str = "adaptive"
    doc: str = "holds that grow and shrink with the load (load_adaptive)"
    simulated_only: str = ""
    other_lists: bool = False

    def made(self, spot: Spot) -> Config:
        """Always."""
        return spot.best(
            [
                with_policy(
                    spot.config,
                    LoadAdaptive(initial_ns=0, step_ns=max(1, most_ns // _STEPS), max_ns=most_ns),
                )
                for most_ns in shares_of(spot.config, _SHARES)
            ]
        )
