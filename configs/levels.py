"""The levels of a stage as a configuration writes them: cheaper ways to serve its batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from configs.nodes import KindOf
from policies.degrade import Degrade
from policies.knobs import knob

MOST_LEVELS = 127
"""Levels are counted in eight bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelConfig:
    """A cheaper way to serve a stage's batches: fewer candidates, a lighter model, or both; or not at all."""

    cost: float | None = knob(
        "factor of the stage's service time in a simulation; absent is what a full batch saves that takes so"
        " few candidates, which the stage's service must know",
        default=None,
        gt=0,
        le=1,
    )
    take: int | None = knob(
        "how many of the candidates that come in a real run still looks at; absent is all",
        default=None,
        ge=1,
    )
    model: Annotated[Any, KindOf("model")] | None = knob(
        "what a real run executes instead; absent is the stage's own model", default=None
    )
    skip: bool = knob(
        "requests go on at the join behind without this branch, as far as another is left; the last level"
        " only",
        default=False,
    )


def level_problems(
    where: str,
    levels: Sequence[LevelConfig],
    degrade: Degrade | None,
    by_request: bool,
    keep: int | None,
    comes_in: int | None,
    needed_because: str | None,
) -> Iterator[tuple[str, str]]:
    """What does not hold of a stage's levels; ``comes_in`` is how many candidates it is given, if known, and
    ``needed_because`` says why it cannot be skipped, if it cannot.
    """
    if by_request and degrade is not None:
        yield (
            f"{where}.degrade",
            "is given, and the service levels of requests name the stage as well; leave one of them out",
        )
    if levels and degrade is None and not by_request:
        yield (
            f"{where}.levels",
            "is given and degrade is not, so that every batch is served in full; give degrade, which"
            " says when to go to a level, or name the stage in the top-level levels, or leave levels out",
        )
    if degrade is not None and not levels:
        yield (
            f"{where}.degrade",
            "is given and levels is not, so that there is nothing to go to; give levels, such as"
            " [{take: 50, cost: 0.55}]",
        )
    if len(levels) > MOST_LEVELS:
        yield f"{where}.levels", f"has {len(levels)} entries; at most {MOST_LEVELS} are told apart"
    cost = 1.0
    for number, level in enumerate(levels):
        take, here = level.take, f"{where}.levels[{number}]"
        if take is not None and keep is not None and take < keep:
            yield (
                f"{here}.take",
                f"is {take}, less than keep ({keep}): there would not be so many to pass on; take"
                f" {keep} or more",
            )
        if take is not None and comes_in is not None and take > comes_in:
            yield (
                f"{here}.take",
                f"is {take}, more than the {comes_in} candidates that come in; take {comes_in} or fewer",
            )
        if level.skip:
            yield from _skip_problems(here, level, len(levels) - number - 1, needed_because)
        elif level.cost is None:
            yield from _cost_problems(here, level, comes_in)
        elif level.cost > cost:
            yield (
                f"{here}.cost",
                f"is {level.cost:g}, more than at the level before ({cost:g}); order the levels from the"
                " dearest to the cheapest",
            )
        cost = level.cost or cost


def _cost_problems(
    here: str, level: LevelConfig, comes_in: int | None
) -> Iterator[tuple[str, str]]:
    """Why the cost of a level has to be given that is not."""
    if level.take is None or level.model is not None:
        yield f"{here}.cost", "is missing: what share of the service time the level takes"
    elif comes_in is None:
        yield (
            f"{here}.cost",
            f"is missing, and nothing says of how many candidates the level takes {level.take}; give it, or"
            " give the stages before a `keep`",
        )


def _skip_problems(
    here: str, level: LevelConfig, after: int, needed_because: str | None
) -> Iterator[tuple[str, str]]:
    """What does not hold of a level at which the stage is skipped, with so many levels after it."""
    given = [key for key in ("cost", "take", "model") if getattr(level, key) is not None]
    if given:
        yield (
            f"{here}.{given[0]}",
            "is given beside skip, and a request that is not served takes nothing; leave it or skip out",
        )
    if after:
        yield (
            f"{here}.skip",
            f"is not the last level ({after} after it), and none is cheaper; make it the last",
        )
    if needed_because is not None:
        yield f"{here}.skip", needed_because
