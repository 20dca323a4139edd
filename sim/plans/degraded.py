"""Stages that serve more cheaply while they are behind."""

from __future__ import annotations

from dataclasses import dataclass, replace

from configs.model import Config
from policies.immediate import Immediate
from sim.plans.base import NotApplicableError, Spot, with_stages


@dataclass(frozen=True, slots=True)
class Degraded:
    """The levels and the degradation that the configuration gives its stages; no hold. Other plans serve
    in full.
    """

    name: str = "degraded"
    doc: str = "stages that are behind serve more cheaply, by their levels"
    simulated_only: str = ""
    other_lists: bool = False

    def made(self, spot: Spot) -> Config:
        """Raises NotApplicableError where no stage has levels."""
        stages = spot.config.stages
        if spot.config.degrade is None and not any(each.levels and each.degrade for each in stages):
            raise NotApplicableError(
                "no stage has cheaper levels to go to; give one `levels` and `degrade`"
            )
        return with_stages(spot.config, [replace(each, policy=Immediate()) for each in stages])
