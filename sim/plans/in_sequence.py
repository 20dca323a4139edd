"""Branches one after another, as a pipeline without parallel branches has them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from configs.model import Config
from policies.immediate import Immediate
from policies.pipeline import topological
from sim.plans.base import NotApplicableError, Spot, with_policy, with_stages
from sim.service.of_stage import unpadded


@dataclass(frozen=True, slots=True)
class InSequence:
    """All stages in one chain, in topological order, each with the candidates that it had; no hold."""

    name: str = "sequence"
    doc: str = "parallel branches one after another"
    other_lists: bool = False
    simulated_only: str = (
        "a real stage takes what its own parents pass on, which a chain would change"
    )

    def made(self, spot: Spot) -> Config:
        """Raises NotApplicableError where nothing runs in parallel."""
        config = spot.config
        parents = config.parents()
        order = topological(parents)
        if all(
            parents[name] == tuple(order[at - 1 : at] if at else ())
            for at, name in enumerate(order)
        ):
            raise NotApplicableError("the stages are a chain already; see parallel")
        stages = [
            replace(
                config.stage(name),
                after=tuple(order[at - 1 : at] if at else ()),
                merge=None,
                service=unpadded(config, config.stage(name)),
                service_on={},
            )
            for at, name in enumerate(order)
        ]
        return with_policy(with_stages(config, stages), Immediate())
