"""Batches that travel whole, as ``cadence`` spaces and caps them."""

from __future__ import annotations

from dataclasses import dataclass

from configs.model import Config
from policies.cadence import Cadence
from sim.plans.base import Spot, with_policy


@dataclass(frozen=True, slots=True)
class Trains:
    """``cadence`` at all stages."""

    name: str = "cadence"
    doc: str = "one batch travels whole, spaced by the bottleneck (cadence)"
    simulated_only: str = ""
    other_lists: bool = False

    def made(self, spot: Spot) -> Config:
        """Always; where the objective is below what a request takes, the run is refused."""
        return with_policy(spot.config, Cadence())
