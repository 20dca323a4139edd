"""The full model of a pipeline: its ranker over all candidates, as a configuration of its own."""

from __future__ import annotations

from dataclasses import replace

from configs.model import Config
from delayline.errors import CommandError


def full_model(config: Config, ranker: str, candidates: int) -> Config:
    """One way of recall passes on all ``candidates``, what lies between it and the ranker narrows nothing
    down, and what follows is as it is; all in full. As ``compare --plans`` has its monolith. Raises
    CommandError for a ranker with nothing before it.
    """
    parents = config.parents()
    before = _before(ranker, parents)
    roots = [name for name in before if not parents[name]]
    if not roots:
        raise CommandError(
            f"--ranker {ranker}: no stage comes before it, so that nothing is narrowed down for it"
        )
    way = [name for name in before if roots[0] in (name, *_before(name, parents))]
    gone = {name for name in before if name not in way}
    stages = []
    for stage in config.stages:
        if stage.name in gone:
            continue
        after = tuple(name for name in parents[stage.name] if name not in gone)
        full = replace(stage, after=after, levels=(), degrade=None)
        if len(after) < 2:
            full = replace(full, merge=None)
        stages.append(replace(full, keep=candidates) if stage.name in way else full)
    return replace(config, stages=tuple(stages), levels=(), degrade=None, tune={}, quality=None)


def _before(name: str, parents: dict[str, tuple[str, ...]]) -> list[str]:
    """All stages that come before one, each once, in the order of the graph."""
    found: dict[str, None] = {}
    for parent in parents[name]:
        found |= dict.fromkeys([*_before(parent, parents), parent])
    return list(found)
