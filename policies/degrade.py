"""Degradation: a stage that is behind serves its batches more cheaply, and in full again once it is not.

Klein, Maggio, Årzén, Hernández-Rodriguez: "Brownout: building more robust cloud applications", ICSE 2014:
part of an answer is optional, and how much of it is given follows the load. Here a stage lists its cheaper
ways as levels, and its degradation is asked once for each batch as it is sent. At the last level it may
be skipped: the requests of the batch are not served, and go on at the join behind as from a branch that is
missing.
"""

from __future__ import annotations

from abc import ABC
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from policies.contract import Reads, State, View, with_knobs

if TYPE_CHECKING:
    from policies.stage_state import StageState

FULL = 0
"""The level of full service."""


@dataclass(frozen=True, slots=True)
class Level:
    """One cheaper way to serve a batch, as the scheduler and the simulation know it."""

    cost: float
    """Factor of the service time, more than 0 and at most 1; 0 where nothing is served."""
    skip: bool = False
    """Requests go on without the stage, as far as another branch may answer for them; the last level only."""


class Degrade(ABC):
    """One way to choose levels. Subclasses are frozen dataclasses whose fields are knobs.

    ``rule(view, now_ns, state, levels, ...)`` is static and says at which level the next batch is served:
    0 in full, up to ``levels``, the last that the stage has; what lies beyond is cut to that. ``view`` is
    the stage before the batch leaves its queue, with the service times of level 0. The rule may change
    ``state``. Its further parameters are knobs, as those of a :class:`~policies.contract.RulePolicy`.
    """

    kind: ClassVar[str]
    reads: ClassVar[frozenset[Reads]] = frozenset(Reads)
    rule: ClassVar[Callable[..., int]]

    def initial_state(self) -> list[int]:
        """What it remembers at the start of a run, one list per stage."""
        return []


class Degrading:
    """A stage's degradation at work, and the level of each batch that was sent, in the journal's order."""

    __slots__ = ("_levels", "_rule", "_state", "join", "parent", "sent", "skips_at")

    def __init__(self, degrade: Degrade, levels: int, skips_at: int = 0) -> None:
        self._rule: Callable[[View, int, State, int], int] = with_knobs(degrade, degrade.rule)
        self._state = degrade.initial_state()
        self._levels = levels
        self.sent = array("b")
        self.skips_at = skips_at
        """The level at which requests go on without the stage, 0 where there is none; and then:"""
        self.join: StageState | None = None
        """where its branch ends, set once all stages are known;"""
        self.parent = 0
        """the number of the branch there."""

    def level(self, view: View, now_ns: int, requests: Sequence[int] = ()) -> int:  # noqa: ARG002
        """The level of a batch of these requests that is sent now."""
        return min(max(self._rule(view, now_ns, self._state, self._levels), FULL), self._levels)
