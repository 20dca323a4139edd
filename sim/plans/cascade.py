"""The cascade as it is, sent on at once: what all other plans are measured against."""

from __future__ import annotations

from dataclasses import dataclass

from configs.model import Config
from policies.immediate import Immediate
from sim.plans.base import Spot, with_policy


@dataclass(frozen=True, slots=True)
class Cascade:
    """No hold anywhere."""

    name: str = "cascade"
    doc: str = "the stages as they are, a batch goes as soon as a replica is free"
    simulated_only: str = ""
    other_lists: bool = False

    def made(self, spot: Spot) -> Config:
        """Always."""
        return with_policy(spot.config, Immediate())
