"""A hold and a cap for each stage, tuned for the load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from configs.model import Config, StageConfig
from policies.fixed import Fixed
from policies.immediate import Immediate
from sim.plans.base import Spot, shares_of, with_policy, with_stages

_SHARES = (0.05, 0.2, 0.5)
_CAPS = (0.25, 0.5, 1.0)
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class PerStage:
    """Coordinate descent from the cascade without a hold: stage by stage, from the last, the best of a few
    holds and caps, given those of the others; once more where that changed anything.
    """

    name: str = "tuned"
    doc: str = "a hold and a cap for each stage, tuned for the load"
    simulated_only: str = ""
    other_lists: bool = False

    def made(self, spot: Spot) -> Config:
        """Always."""
        chosen = with_policy(spot.config, Immediate())
        for _ in range(_ROUNDS):
            before = chosen
            for stage in reversed(spot.config.stages):
                chosen = spot.best([chosen, *_others(chosen, spot, stage)])
            if chosen == before:
                break
        return chosen


def _others(chosen: Config, spot: Spot, given: StageConfig) -> Iterator[Config]:
    """The configuration with another hold, or another cap, at a stage."""
    stage = chosen.stage(given.name)
    delays_ns = shares_of(spot.config, _SHARES)
    changed = [replace(stage, policy=Immediate())]
    changed += [replace(stage, policy=Fixed(delay_ns)) for delay_ns in delays_ns]
    caps = sorted({max(1, round(share * given.max_batch)) for share in _CAPS})
    changed += [replace(stage, max_batch=cap) for cap in caps]
    for other in changed:
        if other != stage:
            yield with_stages(
                chosen, [other if one.name == other.name else one for one in chosen.stages]
            )
