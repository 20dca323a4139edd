"""Quality measured: lists of a pipeline's models in every way of serving, scored on what is held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from configs.errors import nearest
from configs.model import Config
from configs.served import described
from delayline.console import progress
from delayline.errors import CommandError
from delayline.full_model import full_model
from delayline.quality_grid import ways_of
from reports.list_scores import TOP, Scores, means, scores
from reports.quality_table import QualityTable, Row, Way

if TYPE_CHECKING:
    from executors.offline import Offline, Served


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """What was measured: the table, and what is behind it, a user each."""

    table: QualityTable
    scores: Mapping[Way, Scores]
    full_scores: Scores
    models: Offline
    """What was measured."""
    full_model: Offline


def evaluate(
    config: Config,
    *,
    keeps: Mapping[str, Sequence[int]] | None = None,
    ways: Sequence[Way] | None = None,
    users: int | None = None,
    ranker: str | None = None,
    seed: int | None = None,
    quiet: bool = True,
) -> Evaluated:
    """Measure the quality of a configuration's lists in ``ways``, full service first (default: those of
    ``delayline.quality_grid``), over all users or so many of them, drawn by ``seed`` (default: the
    configuration's), which intervals are drawn by too. ``ranker`` is the stage whose ranking of all
    candidates is the full model's; by default the one that computes most.

    Raises CommandError, and HeldOutError where a stage has no model that can be judged.
    """
    from executors.held_out import digest_of, held_out_of
    from executors.offline import Offline

    seed = config.seed if seed is None else seed
    source = held_out_of(config)
    held_out = source.held_out_items()
    asked = _users(len(held_out), users, seed)
    targets = held_out[asked]
    ways = ways_of(config, keeps or {}) if ways is None else ways
    models = Offline(config, asked)
    with progress("evaluating", len(ways) + 1, quiet=quiet) as advance:
        chosen = ranker or _costliest(models.flops(served(ways[0])))
        if chosen not in config.parents():
            raise CommandError(
                f"--ranker {chosen}: there is no such stage;"
                f" {nearest(chosen, config.parents(), called='stages')}"
            )
        candidates = source.most_candidates()
        whole = Offline(full_model(config, chosen, candidates), asked)
        full_lists = whole.lists(served())
        advance(1, "the full model")
        found: dict[Way, Scores] = {}
        length = 0
        for way in ways:
            lists = models.lists(served(way))
            length = length or lists.shape[1]
            found[way] = scores(lists, targets, full_lists)
            advance(1, way.told())
    full_scores = scores(full_lists, targets, full_lists)
    table = QualityTable(
        stages=described(config),
        digest=digest_of(config),
        ranker=chosen,
        candidates=candidates,
        seed=seed,
        length=length,
        full=means(full_scores, asked, seed),
        rows=[Row(way, means(each, asked, seed)) for way, each in found.items()],
        users=asked,
        held_out=targets,
        full_lists=full_lists[:, :TOP],
    )
    return Evaluated(table, found, full_scores, models, whole)


def _users(there: int, asked: int | None, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if asked is None:
        return np.arange(there)
    if asked > there:
        raise CommandError(f"--users {asked}: there are {there} users; ask for no more")
    return np.sort(np.random.default_rng(seed).choice(there, asked, replace=False))


def served(way: Way | None = None) -> Served:
    """A way as models take it; None is as they are configured."""
    from executors.offline import Served

    if way is None:
        return Served()
    return Served(dict(way.keep), dict(way.levels), frozenset(way.missing))


def _costliest(flops: Mapping[str, float]) -> str:
    return max(flops, key=flops.__getitem__)
