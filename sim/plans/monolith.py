"""One ranker over all candidates, in place of the stages that narrow them down before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from configs.model import Config, StageConfig
from configs.widths import comes_in
from policies.immediate import Immediate
from sim.plans.base import NotApplicableError, Spot, cost_ns, with_policy, with_stages
from sim.service.of_stage import model_at_width


@dataclass(frozen=True, slots=True)
class Monolith:
    """The ranker, which is the stage whose next request costs most among those that have candidates before
    them, scores all that recall found, or all that there are where that is told (``candidates``); stages
    between are gone. Of a real ranker, which takes what the stages before pass on, one way of recall and
    what follows it stay, and nothing is narrowed down on it.

    Its batches are predicted to take the time that the service model says of so many candidates, or, where
    it says nothing of them, that of as many more requests; and its memory to be what it was.
    """

    name: str = "monolith"
    doc: str = "one ranker over all candidates, nothing narrows them down before"
    simulated_only: str = ""
    other_lists: bool = True

    def made(self, spot: Spot) -> Config:
        """Raises NotApplicableError where nothing is narrowed down before the ranker."""
        config = spot.config
        parents = config.parents()
        ranker = ranker_of(config)
        before = _before(ranker.name, parents)
        roots = [name for name in before if not parents[name]]
        scored = comes_in(config, ranker.name) or 0
        every = spot.candidates or _passed_on(config, roots)
        if every <= scored:
            raise NotApplicableError(
                f"{ranker.name} scores all {scored} candidates that recall passes on already; tell how"
                " many there are in all by --candidates"
            )
        if spot.candidates and ranker.model is not None:
            kept = _unnarrowed(config, roots[0], ranker.name, every)
        elif spot.candidates:
            kept = []
        else:
            kept = [replace(config.stage(name), after=()) for name in roots]
        real = bool(spot.candidates and kept)
        ends = [stage.name for stage in kept if not real or stage.name in parents[ranker.name]]
        merges = [config.stage(name).merge for name in (*before, ranker.name)]
        whole = replace(
            _wider(config, ranker, every),
            after=tuple(ends),
            merge=next((merge for merge in merges if merge), None) if len(ends) > 1 else None,
        )
        after = [
            replace(stage, after=parents[stage.name])
            for stage in config.stages
            if stage.name not in (*before, ranker.name)
        ]
        return with_policy(with_stages(config, [*kept, whole, *after]), Immediate())


def _unnarrowed(config: Config, root: str, ranker: str, every: int) -> list[StageConfig]:
    """The stages between one way of recall and a real ranker, which takes what they pass on: all of it."""
    parents = config.parents()
    way = [name for name in _before(ranker, parents) if root in (name, *_before(name, parents))]
    found = []
    for name in way:
        stage = config.stage(name)
        ours = tuple(parent for parent in parents[name] if parent in way)
        wide = _wider(config, stage, every) if ours else stage
        merge = stage.merge if len(ours) > 1 else None
        found.append(replace(wide, keep=every, after=ours, merge=merge))
    return found


def _wider(config: Config, stage: StageConfig, candidates: int) -> StageConfig:
    """A stage that looks at so many candidates."""
    service = model_at_width(config, stage, candidates)
    return replace(stage, service=service, service_on={}, pad_to=())


def _passed_on(config: Config, names: Iterable[str]) -> int:
    """The candidates that these stages pass on together."""
    return sum(config.stage(name).keep or 0 for name in names)


def ranker_of(config: Config) -> StageConfig:
    """The stage that ranks. Raises NotApplicableError."""
    narrowed = [stage for stage in config.stages if comes_in(config, stage.name) is not None]
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
