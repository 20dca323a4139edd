"""What must hold of branches that are skipped, and of the service levels of requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

from configs.errors import nearest
from configs.levels import MOST_LEVELS
from configs.model import Config, StageConfig
from policies.giving_up import JoinWaitsError, branch_end
from policies.pipeline import CycleError, topological


def needed_because(config: Config, stage: StageConfig) -> str | None:
    """Why no request can go on without a stage; None where one can."""
    try:
        _end_of_branch(config, stage.name)
    except (CycleError, KeyError):
        return None  # told of the graph
    except JoinWaitsError as error:
        return (
            f"{error}; give that a merge with quorum: {error.branches}, which waits for each that is not"
            " skipped, with a lower one, or with a deadline"
        )
    except ValueError as error:
        return f"{error}; only a branch can be skipped, whose join goes on with the others"
    return None


def _end_of_branch(config: Config, stage: str) -> tuple[str, int]:
    """(join, number of the branch there); see :func:`branch_end`."""
    parents = config.parents()
    names = topological(parents)
    merges = [config.stage(name).merge for name in names]
    partial = [merge is not None and not merge.waits_for_all for merge in merges]
    before = [parents[name] for name in names]
    join, parent = branch_end(names, before, partial, names.index(stage))
    return names[join], parent


def service_level_problems(config: Config) -> Iterator[tuple[str, str]]:
    """Service levels name levels that stages have, and leave a branch to every join."""
    if config.levels and config.degrade is None:
        yield (
            "levels",
            "is given and degrade is not, so that every request is served in full; give degrade",
        )
    if config.degrade is not None and not config.levels:
        yield (
            "degrade",
            "is given and levels is not, so that there is nothing to go to; give levels, such as [{rank: 1}]",
        )
    if len(config.levels) > MOST_LEVELS:
        yield "levels", f"has {len(config.levels)} entries; at most {MOST_LEVELS} are told apart"
    known = {stage.name: stage.levels for stage in config.stages}
    for number, level in enumerate(config.levels):
        where, ends = f"levels[{number}]", defaultdict(set)
        for name, at in level.items():
            if name not in known:
                hint = nearest(name, known, called="stages")
                yield f"{where}.{name}", f"there is no stage `{name}`; {hint}"
            elif at > len(known[name]):
                has = f"has {len(known[name])}" if known[name] else "has none"
                yield f"{where}.{name}", f"is level {at}, and the stage {has}; give it more levels"
            elif at and known[name][at - 1].skip:
                with suppress(ValueError, KeyError):
                    join, parent = _end_of_branch(config, name)
                    ends[join].add(parent)
        for join, branches in ends.items():
            if len(branches) == len(config.parents()[join]):
                yield (
                    where,
                    f"skips every branch before {join}, and a request needs one; leave one of them out",
                )
