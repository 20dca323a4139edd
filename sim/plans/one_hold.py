"""One fixed hold for all stages."""

from __future__ import annotations

from dataclasses import dataclass

from configs.model import Config
from policies.fixed import Fixed
from sim.plans.base import Spot, shares_of, with_policy

_SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Of the objective that falls to a stage."""


@dataclass(frozen=True, slots=True)
class OneHold:
    """The hold of :data:`_SHARES` that does best at the load."""

    name: str = "hold"
    doc: str = "one fixed hold for all stages, the best of five"
    simulated_only: str = ""
    other_lists: bool = False

    def made(self, spot: Spot) -> Config:
        """Always."""
        delays_ns = shares_of(spot.config, _SHARES)
        return spot.best([with_policy(spot.config, Fixed(delay_ns)) for delay_ns in delays_ns])
