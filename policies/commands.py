"""What the scheduler tells its driver to do: commands out, as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from policies.coalesce import Fold
from policies.runlog import Outcome


class StartBatch(NamedTuple):
    """Run these requests as one batch on this replica; then call ``batch_finished``."""

    stage: int
    """Index into the pipeline's stages."""
    batch: int
    """Number of the batch within its stage, from 0; one that is sent again keeps it."""
    replica: int
    requests: Sequence[int]
    items: int
    attempt: int
    """1, or 2 where the batch is sent again: its replica was lost, or it is hedged."""
    fold: Fold | None = None
    """Which of the requests are to be run, where some are alike; None for all."""
    missed: int = 0
    """Keys that the replica has to fetch first."""
    level: int = 0
    """Degradation level to run it at; 0 is full service."""

    @property
    def computed(self) -> Sequence[int]:
        """The requests that are to be run; ``items`` are theirs."""
        return self.requests if self.fold is None else self.fold.computed


class SetTimer(NamedTuple):
    """Call ``timer`` with this command at ``at_ns`` (not at all where that is ``NEVER_NS``).

    A driver that knows a root stage's arrivals ahead may keep them back until then, or until ``more``
    further ones are due, whichever is first, and bring them all at once. Timers are not cancelled: a
    stale one does nothing.
    """

    at_ns: int
    stage: int
    """Index of the stage that asked, or one of the negative numbers below."""
    more: int
    """How many further requests at ``stage`` would end the hold; ``NO_SIZE`` where none would."""


EXPIRY_TIMER = -1
"""``SetTimer.stage`` of the timer for the earliest deadline in any queue."""
ESTIMATE_TIMER = -2
"""``SetTimer.stage`` of the timer at the end of an estimation window."""
TICK_TIMER = -3
"""``SetTimer.stage`` of the timer for the policies' own ticks."""
MERGE_TIMER = -6
"""``SetTimer.stage`` of the timer at which a request goes on without the branches that are late."""
HEDGE_TIMER = -4
"""``SetTimer.stage`` of the timer for a batch that will have run for too long."""
SCALE_TIMER = -5
"""``SetTimer.stage`` of the timer at which a stage's replicas are counted and their number decided."""


class Complete(NamedTuple):
    """These requests are done: answer them."""

    requests: Sequence[int]


class Drop(NamedTuple):
    """These requests end without an answer; ``outcome`` is SHED, EXPIRED or FAILED."""

    requests: Sequence[int]
    outcome: Outcome
    reason: str


class StartReplica(NamedTuple):
    """Bring up a replica that is not there; then call ``replica_back``."""

    stage: int
    replica: int


class StopReplica(NamedTuple):
    """Let a replica go, which runs nothing; nothing is sent to it until it has been started again."""

    stage: int
    replica: int


Command = StartBatch | SetTimer | Complete | Drop | StartReplica | StopReplica
