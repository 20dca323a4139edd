"""The costliest stage of a chain in two parallel branches."""

from __future__ import annotations

from dataclasses import dataclass, replace

from configs.model import Config, StageConfig
from policies.immediate import Immediate
from sim.plans.base import NotApplicableError, Spot, cost_ns, with_policy, with_stages
from sim.service.deterministic import Deterministic
from sim.service.of_stage import model_of_stage
from sim.service.widened import widened

PARTS = 2


@dataclass(frozen=True, slots=True)
class InParallel:
    """A stage of which every request costs most, cut in halves that run side by side and are joined: each
    has half of the work for a request and of the memory, and all of what a batch costs before its first.

    Replicas of the halves are as many as the stage had; a device that they share is not more than it was.
    What a model can really be cut into, and what its parts take, says ``delayline partition``.
    """

    name: str = "parallel"
    doc: str = "the costliest stage in two parallel halves, joined"
    other_lists: bool = False
    simulated_only: str = (
        "a model must be cut for it; run the pipeline that `delayline partition` writes"
    )

    def made(self, spot: Spot) -> Config:
        """Raises NotApplicableError for a graph whose stages are no chain."""
        config = spot.config
        parents = config.parents()
        if any(len(each) > 1 for each in parents.values()) or len(set(parents.values())) < len(
            parents
        ):
            raise NotApplicableError("the stages have parallel branches already; see sequence")
        cut = max(config.stages, key=lambda stage: cost_ns(config, stage) / stage.replicas)
        names = [f"{cut.name}_part{k + 1}" for k in range(PARTS)]
        halves = [
            replace(
                cut,
                name=name,
                after=parents[cut.name],
                service=widened(model_of_stage(config, cut), 1 / PARTS),
                service_on={},
                pad_to=(),
                memory_bytes=cut.memory_bytes and -(-cut.memory_bytes // PARTS),
                model=None,
            )
            for name in names
        ]
        join = StageConfig(
            name=cut.name,
            after=tuple(names),
            keep=cut.keep,
            service=Deterministic(mean_ns=0),
            policy=Immediate(),
        )
        stages = []
        for stage in config.stages:
            if stage.name == cut.name:
                stages += [*halves, join]
            else:
                stages.append(replace(stage, after=parents[stage.name]))
        return with_policy(with_stages(config, stages), Immediate())
