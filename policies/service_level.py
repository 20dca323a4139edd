"""Service levels: how far each request is degraded on its whole way, chosen once as it arrives."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from policies.contract import State, View, with_knobs
from policies.degrade import FULL, Degrade, Degrading
from policies.pipeline import Pipeline, end_of_branch

if TYPE_CHECKING:
    from policies.board import Board
    from policies.stage_state import StageState

Branch = tuple[int, int]
"""(join, number of the branch there)"""


class NoBranchLeftError(ValueError):
    """A service level skips all branches of a join; ``level`` says which, ``join`` is the join's name."""

    def __init__(self, level: int, join: str) -> None:
        self.level, self.join = level, join
        super().__init__(f"service level {level} skips every branch before {join}")


def skipped_branches(pipeline: Pipeline) -> list[list[Branch]]:
    """By service level, from 0 on, the branches that its requests go on without.

    Raises ValueError where a stage cannot be skipped, NoBranchLeftError where none is left.
    """
    found: list[list[Branch]] = [[]]
    for number, levels in enumerate(pipeline.levels, 1):
        skipped = [
            end_of_branch(pipeline, k)
            for k, (stage, level) in enumerate(zip(pipeline.stages, levels, strict=True))
            if level and level == stage.skips_at
        ]
        for join, _ in skipped:
            branches = {parent for other, parent in skipped if other == join}
            if len(branches) == len(pipeline.stages[join].parents):
                raise NoBranchLeftError(number, pipeline.stages[join].name)
        found.append(list(dict.fromkeys(skipped)))
    return found


class ServiceLevels:
    """The rule at work, and the level of each request in order of arrival."""

    __slots__ = ("_count", "_rule", "_state", "of", "skipped")

    def __init__(self, degrade: Degrade, pipeline: Pipeline) -> None:
        self._rule: Callable[[View, int, State, int], int] = with_knobs(degrade, degrade.rule)
        self._state = degrade.initial_state()
        self._count = len(pipeline.levels)
        self.of = array("b")
        self.skipped = skipped_branches(pipeline)

    def choose(self, view: View, now_ns: int) -> int:
        """The level of the request that arrives now."""
        level = min(max(self._rule(view, now_ns, self._state, self._count), FULL), self._count)
        self.of.append(level)
        return level


class AsChosen(Degrading):
    """A stage that serves each request as its service level says; ``levels`` is by service level."""

    __slots__ = ("_chosen", "_levels_of", "passed_at")

    def __init__(self, levels: Sequence[int], chosen: Sequence[int], passed_at: int) -> None:
        self.sent = array("b")
        self.skips_at = 0  # who skips it does so on the way in, and never waits
        self.passed_at = passed_at
        """The level at which requests pass it by, 0 where there is none."""
        self._levels_of, self._chosen = levels, chosen

    def level(self, view: View, now_ns: int, requests: Sequence[int] = ()) -> int:  # noqa: ARG002
        """The level of a batch, which that of any of its requests is."""
        return self.level_of(requests[0])

    def level_of(self, request: int) -> int:
        """The level at which the stage serves a request."""
        return self._levels_of[self._chosen[request]]

    def alike(self, requests: Iterable[int], count: int) -> int:
        """How many of the first ``count`` have the level of the first, up to one that has not."""
        few = list(islice(requests, count))
        level = self.level_of(few[0])
        return sum(1 for _ in takewhile(lambda each: self.level_of(each) == level, few))


def most_behind(stages: Sequence[StageState]) -> StageState:
    """The stage whose oldest request has waited longest; the first of several, or where none waits."""
    return min(stages, key=lambda stage: stage.queue.oldest_ns())


def choose(board: Board, levels: ServiceLevels, now_ns: int, requests: Sequence[int]) -> None:
    """Requests arrive: each gets its service level, and branches that this skips are missing from then on."""
    view = most_behind(board.stages).view()
    for request in requests:
        for join, parent in levels.skipped[levels.choose(view, now_ns)]:
            joining = board.stages[join].joining
            if joining is not None:
                joining.missed(parent, (request,))


def pass_by(
    board: Board,
    here: StageState,
    as_chosen: AsChosen,
    now_ns: int,
    entered_ns: int,
    requests: Sequence[int],
) -> Sequence[int]:
    """Those of the requests that are to enter a stage, which the others pass by."""
    kept = []
    for request in requests:
        if request in board.drops or as_chosen.level_of(request) != as_chosen.passed_at:
            kept.append(request)
        else:
            here.journal.skipped(request, entered_ns, now_ns)
    return kept
