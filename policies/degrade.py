"""Degradation: a stage that is behind serves its batches more cheaply, and in full again once it is not.

Klein, Maggio, Årzén, Hernández-Rodriguez: "Brownout: building more robust cloud applications", ICSE 2014:
part of an answer is optional, and how much of it is given follows the load. Here a stage lists its cheaper
ways as levels, and its degradation is asked once for each batch as it is sent.
"""

from __future__ import annotations

from abc import ABC
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Reads, State, View, with_knobs

FULL = 0
"""The level of full service."""


@dataclass(frozen=True, slots=True)
class Level:
    """One cheaper way to serve a batch, as the scheduler and the simulation know it."""

    cost: float
    """Factor of the service time, more than 0 and at most 1."""


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

    __slots__ = ("_levels", "_rule", "_state", "sent")

    def __init__(self, degrade: Degrade, levels: int) -> None:
        self._rule: Callable[[View, int, State, int], int] = with_knobs(degrade, degrade.rule)
        self._state = degrade.initial_state()
        self._levels = levels
        self.sent = array("b")

    def level(self, view: View, now_ns: int) -> int:
        """The level of a batch that is sent now."""
        return min(max(self._rule(view, now_ns, self._state, self._levels), FULL), self._levels)
