"""Autoscaling at work: a stage's demand as it is measured, and replicas that come and go.

It runs beside the pipeline by timers of its own. Replicas that are not there are down, like lost ones,
and beside that ``off``: nobody pays for them. One that is to go finishes its batch first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from policies.autoscale import Autoscale
from policies.commands import SCALE_TIMER, SetTimer, StartReplica, StopReplica
from policies.contract import NO_SIZE

if TYPE_CHECKING:
    from policies.board import Board
    from policies.stage_state import StageState

_SAMPLES = 10
"""How often in an interval the requests that wait or run are counted."""


class Autoscaling:
    """The state of one stage's autoscaling."""

    __slots__ = (
        "_advised",
        "_busy_ns",
        "_ongoing",
        "_samples",
        "_since_ns",
        "leaving",
        "next_ns",
        "off",
        "rule",
        "spells",
        "step_ns",
    )

    def __init__(self, rule: Autoscale, there: int, replicas: int) -> None:
        self.rule = rule
        self.step_ns = rule.interval_ns if rule.target else -(-rule.interval_ns // _SAMPLES)
        self.next_ns = self.step_ns
        self.off = list(range(there, replicas))
        """Replicas that are not there, in order of number."""
        self.leaving: set[int] = set()
        """Replicas that go once their batch is done."""
        self.spells = [(replica, 0, -1) for replica in self.off]
        """(replica, from_ns, to_ns) in which it was off, to_ns -1 while it is."""
        self._advised = deque([(0, there)])
        self._since_ns = 0
        self._busy_ns = 0
        self._ongoing = 0
        self._samples = 0

    def ran(self, from_ns: int, to_ns: int) -> None:
        """A batch ran until ``to_ns``; what lies before the present interval was counted."""
        self._busy_ns += to_ns - max(from_ns, self._since_ns)

    def released(self, board: Board, here: StageState, now_ns: int, replica: int) -> None:
        """The replica's batch is over; it goes, if it was to."""
        self.ran(here.dispatched_ns[replica], now_ns)
        if replica in self.leaving:
            leave(board, here, self, now_ns, replica)

    def wanted(self, here: StageState, now_ns: int) -> int | None:
        """A timer came due: how many replicas to have, where an interval is over."""
        self.next_ns += self.step_ns
        self._ongoing += here.waiting + sum(len(retry.command.requests) for retry in here.retries)
        self._ongoing += sum(len(batch.requests) for batch in here.running if batch is not None)
        self._samples += 1
        if now_ns - self._since_ns < self.rule.interval_ns:
            return None
        for batch, from_ns in zip(here.running, here.dispatched_ns, strict=True):
            if batch is not None:
                self.ran(from_ns, now_ns)
        if self.rule.target:
            demand = self._busy_ns / (now_ns - self._since_ns)
        else:
            demand = self._ongoing / self._samples
        self._since_ns, self._busy_ns, self._ongoing, self._samples = now_ns, 0, 0, 0
        current = self.current(here)
        self._advised.append((now_ns, self.rule.desired(current, demand)))
        while self._advised[0][0] < now_ns - self.rule.scale_down_delay_ns:
            self._advised.popleft()
        return self.rule.settled(current, (replicas for _, replicas in self._advised))

    def current(self, here: StageState) -> int:
        """Replicas that are there to stay, or are starting."""
        return here.up - len(self.leaving) + here.returning


def run_due(board: Board, now_ns: int) -> None:
    """Decide for the stages whose time has come, and set the next timer."""
    if all(here.scaling is None or here.scaling.next_ns > now_ns for here in board.scaled):
        return
    for here in board.scaled:
        scaling = here.scaling
        while scaling is not None and scaling.next_ns <= now_ns:
            wanted = scaling.wanted(here, now_ns)
            if wanted is not None:
                _change(board, here, scaling, now_ns, wanted)
    arm(board)


def arm(board: Board) -> None:
    """Ask for the timer of the next decision."""
    due_ns = min((here.scaling.next_ns for here in board.scaled if here.scaling), default=-1)
    if due_ns >= 0:
        board.out.append(SetTimer(due_ns, SCALE_TIMER, NO_SIZE))


def _change(board: Board, here: StageState, scaling: Autoscaling, now_ns: int, wanted: int) -> None:
    current = scaling.current(here)
    while current < wanted and (scaling.leaving or scaling.off):
        if scaling.leaving:
            scaling.leaving.remove(min(scaling.leaving))
        else:
            _start(board, here, scaling, now_ns)
        current += 1
    staying = [replica for replica, _ in _staying(here, scaling)]
    # One that serves stays, whatever is starting.
    for replica in staying[: max(min(current - wanted, len(staying) - 1), 0)]:
        if here.running[replica] is None:
            leave(board, here, scaling, now_ns, replica)
        else:
            scaling.leaving.add(replica)


def _staying(here: StageState, scaling: Autoscaling) -> list[tuple[int, bool]]:
    """Replicas that are up to stay, those first that would go first: idle ones, then the youngest."""
    up = [
        (replica, batch is not None)
        for replica, batch in enumerate(here.running)
        if (batch is not None or here.idle >> replica & 1) and replica not in scaling.leaving
    ]
    return sorted(up, key=lambda each: (each[1], -each[0]))


def _start(board: Board, here: StageState, scaling: Autoscaling, now_ns: int) -> None:
    replica = scaling.off.pop(0)
    here.returning += 1
    scaling.spells = [
        (other, from_ns, now_ns if other == replica and to_ns < 0 else to_ns)
        for other, from_ns, to_ns in scaling.spells
    ]
    board.out.append(StartReplica(here.index, replica))


def leave(board: Board, here: StageState, scaling: Autoscaling, now_ns: int, replica: int) -> None:
    """An idle replica goes: it is down, and off, from now on."""
    scaling.leaving.discard(replica)
    here.idle &= ~(1 << replica)
    here.up -= 1
    here.down.append((replica, now_ns, -1))
    scaling.spells.append((replica, now_ns, -1))
    scaling.off = sorted([*scaling.off, replica])
    if here.caches is not None:
        here.caches.lose(replica)
    board.out.append(StopReplica(here.index, replica))
