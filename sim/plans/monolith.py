"""One ranker over all candidates, in place of the stages that narrow them down before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from configs.model import Config, StageConfig
from policies.immediate import Immediate
from sim.plans.base import NotApplicableError, Spot, cost_ns, with_policy, with_stages
from sim.service.of_stage import model_of_stage
from sim.service.widened import widened


@dataclass(frozen=True, slots=True)
class Monolith:
    """The ranker, which is the stage whose next request costs most among those that have candidates before
    them, scores all that recall found, or all that there are where that is told (``candidates``); stages
    between are gone.

    Its batches are predicted to take the time of as many more requests as it has more candidates to score,
    and its memory to be what it was.
    """

    name: str = "monolith"
    doc: str = "one ranker over all candidates, nothing narrows them down before"
    simulated_only: str = ""

    def made(self, spot: Spot) -> Config:
        """Raises NotApplicableError where nothing is narrowed down before the ranker."""
        config = spot.config
        parents = config.parents()
        ranker = ranker_of(config)
        before = _before(ranker.name, parents)
        roots = [name for name in before if not parents[name]]
        scored = sum(config.stage(name).keep or 0 for name in parents[ranker.name])
        all_of_them = spot.candidates or sum(config.stage(name).keep or 0 for name in roots)
        if spot.candidates and ranker.model is not None:
            # A real ranker takes its candidates from recall, which passes on all of them.
            kept = [replace(config.stage(roots[0]), keep=spot.candidates, after=())]
        elif spot.candidates:
            kept = []
        else:
            kept = [replace(config.stage(name), after=()) for name in roots]
        gone = [name for name in before if name not in [stage.name for stage in kept]]
        if all_of_them <= scored or not gone:
            raise NotApplicableError(
                f"{ranker.name} scores all {scored} candidates that recall passes on already; tell how"
                " many there are in all by --candidates"
            )
        whole = replace(
            ranker,
            after=tuple(stage.name for stage in kept),
            service=widened(model_of_stage(ranker), all_of_them / scored),
            service_on={},
            pad_to=(),
            merge=ranker.merge if len(kept) > 1 else None,
        )
        after = [
            replace(stage, after=parents[stage.name])
            for stage in config.stages
            if stage.name not in (*before, ranker.name)
        ]
        return with_policy(with_stages(config, [*kept, whole, *after]), Immediate())


def ranker_of(config: Config) -> StageConfig:
    """The stage that ranks. Raises NotApplicableError."""
    parents = config.parents()
    narrowed = [
        stage
        for stage in config.stages
        if any(config.stage(name).keep for name in parents[stage.name])
    ]
    if not narrowed:
        raise NotApplicableError(
            "no stage says how many candidates it passes on; give the stages before the ranker a `keep`"
        )
    return max(narrowed, key=lambda stage: cost_ns(config, stage))


def _before(name: str, parents: Mapping[str, tuple[str, ...]]) -> list[str]:
    """All stages that come before one, each once."""
    found: dict[str, None] = {}
    for parent in parents[name]:
        found |= dict.fromkeys([*_before(parent, parents), parent])
    return list(found)
