"""What a run leaves behind: the same value from every driver, turned into tables by ``reports``.

Arrays are by column. Request ids are 0 to n-1 in order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
Int8 = NDArray[np.int8]


class Outcome(IntEnum):
    """How a request ended. Every request that arrived ends in exactly one of these."""

    PENDING = 0
    """Not ended; only in the log of a run that was interrupted."""
    COMPLETED = 1
    SHED = 2
    """Refused at a full queue."""
    EXPIRED = 3
    """Dropped in a queue at its deadline."""
    FAILED = 4
    """Given up with a reason: its replica was lost twice, or nothing could ever serve it."""


@dataclass(frozen=True, slots=True)
class RequestLog:
    """One row a request, ordered by id. ``ended_ns`` is when the outcome fell, -1 while pending."""

    arrival_ns: Int64
    deadline_ns: Int64
    """``NEVER_NS`` where there is none."""
    items: Int64
    ended_ns: Int64
    outcome: Int8
    level: Int8
    """The highest degradation level at which a stage served or skipped it; 0 is full service."""
    priority: Int8
    reasons: dict[int, str] = field(default_factory=dict)
    """Request id to why it was shed, expired or failed."""
    keys: Int64 | None = None
    """Whom or what each is about; None where requests have no keys."""
    service_level: Int8 | None = None
    """The level that was chosen for each as it arrived; None where levels are the stages' own."""

    def __len__(self) -> int:
        return len(self.arrival_ns)


@dataclass(frozen=True, slots=True)
class BatchLog:
    """One row a batch (one that was sent twice: one row an attempt), in order of dispatch."""

    batch: Int64
    """Number of the batch within its stage, counted from 0 in order of first dispatch."""
    replica: Int32
    dispatched_ns: Int64
    started_ns: Int64
    finished_ns: Int64
    """When the scheduler learnt that it was over."""
    requests: Int64
    items: Int64
    attempt: Int8
    """1, or 2 for the retry after a replica was lost and for the copy that a hedge sends."""
    lost: NDArray[np.bool_]
    """The replica died under this attempt."""
    discarded: NDArray[np.bool_]
    """The batch was hedged, and it was its other copy that served the requests."""
    computed: Int64 | None = None
    """At a stage that coalesces, how many of the requests were run, whose ``items`` are counted: 0 where
    all waited for the answer of the batch before.
    """
    missed: Int64 | None = None
    """At a stage with locality, how many keys the replica did not hold."""
    level: Int8 | None = None
    """At a stage that degrades, the level at which each was served; see ``policies.degrade``."""


class Visits(Protocol):
    """The columns of a :class:`VisitLog`, there already or put together when they are asked for."""

    @property
    def request(self) -> Int64: ...  # noqa: D102
    @property
    def enqueued_ns(self) -> Int64: ...  # noqa: D102
    @property
    def row(self) -> Int64: ...  # noqa: D102
    def made(self) -> VisitLog: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class VisitLog:
    """One row for each request that entered a stage's queue.

    Rows of requests that were dispatched come first, in order of dispatch; ``row`` is the index into
    the stage's :class:`BatchLog`, -1 for a request that left the queue otherwise (``dispatched_ns``
    and ``finished_ns`` are -1 then). A request in a batch that was sent twice has the visit of the
    attempt that served it.
    """

    request: Int64
    enqueued_ns: Int64
    row: Int64

    def made(self) -> VisitLog:
        """Itself: all columns are there."""
        return self


class DeferredVisits:
    """The visits of a stage, put together anew whenever a column is asked for: they may be many times
    as large as all the rest of a log, and most who simulate never look at them.
    """

    __slots__ = ("_make", "_stage")

    def __init__(self, make: Callable[[int], VisitLog], stage: int) -> None:
        self._make, self._stage = make, stage

    def made(self) -> VisitLog:
        """All columns at once."""
        return self._make(self._stage)

    @property
    def request(self) -> Int64:
        """See :class:`VisitLog`."""
        return self.made().request

    @property
    def enqueued_ns(self) -> Int64:
        """See :class:`VisitLog`."""
        return self.made().enqueued_ns

    @property
    def row(self) -> Int64:
        """See :class:`VisitLog`."""
        return self.made().row

    def __reduce__(self) -> tuple[Any, ...]:
        made = self.made()
        return VisitLog, (made.request, made.enqueued_ns, made.row)


@dataclass(frozen=True, slots=True)
class SkipLog:
    """The requests that went on without a stage, in the order in which they did. Their visits are among
    those that were not dispatched.
    """

    level: int
    """The level of the stage at which this happens."""
    request: Int64
    at_ns: Int64
    """When each left the queue."""


@dataclass(frozen=True, slots=True)
class StageLog:
    """All that happened at one stage."""

    name: str
    replicas: int
    replica_devices: tuple[int, ...]
    """Index into ``RunLog.devices`` for each replica."""
    max_batch: int
    branch: str
    """Name of the parallel branch that the stage lies on; empty on the trunk."""
    parents: tuple[str, ...]
    batches: BatchLog
    visits: Visits
    down: tuple[tuple[int, int, int], ...] = ()
    """(replica, from_ns, to_ns) for each spell in which a replica was lost, or not there."""
    off: tuple[tuple[int, int, int], ...] = ()
    """The same for those in which autoscaling had no use for it: it was down then, and not paid for."""
    partial: bool = False
    """A request may go on from here without one of the parents (see ``policies.merge``)."""
    skipped: SkipLog | None = None
    """Who went on without this stage; None where no level of it says so."""


@dataclass(frozen=True, slots=True)
class DeviceLog:
    """A device that the pipeline names or that one replica has for itself, and how many batches it
    runs at once.
    """

    name: str
    slots: int


@dataclass(frozen=True, slots=True)
class RunLog:
    """A whole run."""

    requests: RequestLog
    stages: tuple[StageLog, ...]
    """In topological order."""
    devices: tuple[DeviceLog, ...]
    """Those of the pipeline, then the replicas' own, named stage/replica."""
    end_ns: int
    """When the last event fell; the run starts at 0."""
    info: dict[str, object] = field(default_factory=dict)
    """What the driver has to say of itself, JSON-able: engine, seed, late sends, ..."""
