"""Joins that go on at a deadline with what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from configs.model import Config
from policies.immediate import Immediate
from policies.merge_side_by_side import SideBySide
from sim.plans.base import NotApplicableError, Spot, with_policy, with_stages
from sim.plans.trials import Tried

_SHARES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
"""Of the objective: how long after a request's arrival its branches are waited for."""
MOST_LOST = 0.02
"""Of the quality, or, where no table predicts it, of the results that merges wait for."""


@dataclass(frozen=True, slots=True)
class DeadlineMerge:
    """A deadline at every join: of :data:`_SHARES` the one with the lowest p99 among those that lose no more
    than :data:`MOST_LOST`, or else the one that loses least.
    """

    name: str = "merge"
    doc: str = "joins go on at a deadline without the branches that are late"
    simulated_only: str = ""
    other_lists: bool = False

    def made(self, spot: Spot) -> Config:
        """Raises NotApplicableError where nothing is joined."""
        parents = spot.config.parents()
        if all(len(each) < 2 for each in parents.values()):
            raise NotApplicableError("no stage joins parallel branches")
        given = with_policy(spot.config, Immediate())
        latency_ns = spot.objective.latency_ns
        configs = [_due(given, round(share * latency_ns)) for share in _SHARES]
        return configs[_chosen(spot.trials.of(configs))]


def _due(config: Config, deadline_ns: int) -> Config:
    """The configuration with a deadline at every join, whatever else its merge rule says."""
    parents = config.parents()
    return with_stages(
        config,
        [
            replace(
                stage, merge=replace(stage.merge or SideBySide(), deadline_ns=max(1, deadline_ns))
            )
            if len(parents[stage.name]) > 1
            else stage
            for stage in config.stages
        ],
    )


def _chosen(tried: Sequence[Tried]) -> int:
    places = range(len(tried))
    fit = [place for place in places if tried[place].lost <= MOST_LOST]
    if not fit:
        return min(places, key=lambda place: tried[place].lost)
    return min(fit, key=lambda place: (tried[place].p99_ms, tried[place].lost))
