"""The ways of serving that a configuration's quality is measured in: widths, levels, missing branches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations, product

from configs.checks import checked
from configs.errors import ConfigError, nearest
from configs.model import Config, StageConfig
from delayline.errors import CommandError
from policies.pipeline import topological
from reports.quality_table import Way, needed, way

MOST_WAYS = 500
_NARROWER = (2, 4)
"""By what a stage's width is divided where no widths are asked for."""


def parse_keeps(config: Config, texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Widths by stage, of texts such as ``rank=20,50``. Raises CommandError."""
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, widths = text.partition("=")
        known = config.keeps()
        if name not in known:
            raise CommandError(
                f"--keep {text}: there is no stage `{name}` with a keep;"
                f" {nearest(name, known, called='stages with one')}"
            )
        try:
            values = [int(each) for each in widths.split(",")]
        except ValueError:
            values = []
        if not values or min(values) < 1:
            raise CommandError(f"--keep {text}: write numbers of 1 or more, such as {name}=20,50")
        found[name] = tuple(dict.fromkeys((*found.get(name, ()), *values)))
    return found


def ways_of(config: Config, keeps: Mapping[str, Sequence[int]]) -> list[Way]:
    """All ways: those of the configuration's own widths first, then of those in ``keeps`` in every
    combination, or, where that is empty, of a half and a quarter of each stage's but the last, stages after
    it passing on no more. Widths that do not go together are left out. Raises CommandError for too many.
    """
    found: dict[Way, None] = {}
    for keep in _widths(config, keeps):
        narrowed = with_keep(config, keep)
        if _fits(narrowed):
            found |= dict.fromkeys(_of_widths(narrowed))
        if len(found) > MOST_WAYS:
            raise CommandError(
                f"there are more than {MOST_WAYS} ways of serving this pipeline; name fewer widths by"
                " --keep, or give it fewer levels"
            )
    return list(found)


def with_keep(config: Config, keep: Mapping[str, int]) -> Config:
    """The configuration with other widths."""
    stages = tuple(replace(stage, keep=keep.get(stage.name, stage.keep)) for stage in config.stages)
    return replace(config, stages=stages, tune={})


def branches_of(config: Config) -> dict[str, tuple[str, ...]]:
    """By join that merges lists, the stages before it: any but all of them may be missing."""
    parents = config.parents()
    return {
        stage.name: parents[stage.name]
        for stage in config.stages
        if stage.merge is not None and len(parents[stage.name]) > 1
    }


def _widths(config: Config, keeps: Mapping[str, Sequence[int]]) -> Iterator[dict[str, int]]:
    own = config.keeps()
    yield own
    if keeps:
        for values in product(*keeps.values()):
            yield {**own, **dict(zip(keeps, values, strict=True))}
        return
    parents = config.parents()
    last = [name for name in own if not any(name in names for names in parents.values())]
    for name, width in own.items():
        for part in _NARROWER if name not in last else ():
            narrow = max(width // part, 1)
            after = _after(name, parents)
            keep = {each: min(had, narrow) if each in after else had for each, had in own.items()}
            if all(keep[each] == own[each] for each in last):
                yield {**keep, name: narrow}


def _after(name: str, parents: Mapping[str, Sequence[str]]) -> set[str]:
    """The stages that this one comes before."""
    found: set[str] = set()
    for stage in topological({each: tuple(names) for each, names in parents.items()}):
        if any(parent == name or parent in found for parent in parents[stage]):
            found.add(stage)
    return found


def _of_widths(config: Config) -> Iterator[Way]:
    """Every combination of levels and of missing branches."""
    parents = config.parents()
    graph = {name: parents[name] for name in topological(parents)}
    levelled = [stage for stage in config.stages if stage.levels]
    for missing in _missing(branches_of(config)):
        came = needed(graph, missing)
        gone = [stage for stage, join in missing if join in came]
        for levels in product(*(range(_levels(stage) + 1) for stage in levelled)):
            served = dict(zip((stage.name for stage in levelled), levels, strict=True))
            here = {name: level for name, level in served.items() if name in came}
            yield way(config.keeps(), here, gone)


def _levels(stage: StageConfig) -> int:
    """How many of its levels serve at all."""
    return sum(not level.skip for level in stage.levels)


def _missing(branches: Mapping[str, Sequence[str]]) -> Iterator[list[tuple[str, str]]]:
    """Edges (stage, join) that are missing: none first, one branch at least is left at every join."""
    each = [
        [[(name, join) for name in gone] for gone in _subsets(names)]
        for join, names in branches.items()
    ]
    for chosen in product(*each):
        yield list(chain.from_iterable(chosen))


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, count) for count in range(len(names)))


def _fits(config: Config) -> bool:
    """Whether no stage passes on more than comes in, and levels fit."""
    own = config.keeps()
    for name, parents in config.parents().items():
        comes_in = [own.get(parent) for parent in parents]
        known = [width for width in comes_in if width is not None]
        if name in own and known and len(known) == len(comes_in) and own[name] > sum(known):
            return False
    try:
        checked(config)
    except ConfigError:
        return False
    return True
