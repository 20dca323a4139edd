"""One stage as the scheduler keeps it: queue, replicas, and when its policy is to be asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from policies.admission import admits
from policies.autoscaling import Autoscaling
from policies.caches import Caches
from policies.coalesce import Flight, fold
from policies.commands import StartBatch
from policies.contract import (
    NEVER_NS,
    NO_SIZE,
    Policy,
    Reads,
    View,
    asker,
    has_urgency,
    observes,
)
from policies.degrade import Degrading
from policies.disciplines import queue_for
from policies.hedging import Hedging
from policies.joining import Joining
from policies.journal import StageJournal
from policies.limited_queue import LimitedQueue
from policies.pipeline import Stage, predictions
from policies.queues import Queue
from policies.requests import RequestTable
from policies.service_level import AsChosen

UNABLE = 2**63
"""As a stage's ``wake_size``: no batch could start, so that its policy is not asked at all."""


class DeviceState:
    """A shared device: free slots, and the stages that use it."""

    __slots__ = ("free", "stages")

    def __init__(self, slots: int) -> None:
        self.free = slots
        self.stages: list[StageState] = []


class Retry(NamedTuple):
    """A batch that lost its replica and waits for another."""

    command: StartBatch
    row: int


class StageState:
    """Mutable state of one stage. ``waiting`` counts the queue; the scheduler keeps it in step."""

    __slots__ = (
        "admission_state",
        "admits",
        "always_ready",
        "as_chosen",
        "ask",
        "batches",
        "caches",
        "children",
        "degrading",
        "device_of",
        "devices",
        "dispatched_ns",
        "down",
        "downstream_ns",
        "flight",
        "given_up_by",
        "guarded",
        "hedging",
        "idle",
        "idle_since_ns",
        "index",
        "is_root",
        "joining",
        "journal",
        "keys",
        "last_dispatch_ns",
        "limited",
        "load",
        "next_tick_ns",
        "observes",
        "parents",
        "pipeline_load",
        "plain",
        "policy",
        "queue",
        "queue_bound",
        "rate_hz",
        "reads_batch_oldest",
        "reads_deadlines",
        "reads_estimates",
        "reads_head",
        "reads_newest",
        "reads_next_idle",
        "reads_urgent",
        "retries",
        "returning",
        "rivals",
        "row",
        "running",
        "scaling",
        "service_ns",
        "spec",
        "state",
        "table",
        "up",
        "waiting",
        "waiting_items",
        "wake_ns",
        "wake_size",
    )

    def __init__(
        self,
        index: int,
        spec: Stage,
        table: RequestTable,
        devices: dict[str, DeviceState],
        guarded: bool,
        reads: frozenset[Reads],
    ) -> None:
        policy: Policy = spec.policy
        self.index = index
        self.spec = spec
        self.policy = policy
        self.ask = asker(policy)
        self.state = policy.initial_state()
        self.observes = observes(policy)
        self.reads_estimates = Reads.ESTIMATES in reads
        self.reads_deadlines = Reads.DEADLINES in reads
        self.reads_next_idle = Reads.NEXT_IDLE in reads
        self.reads_head = Reads.HEAD in reads
        self.reads_newest = Reads.NEWEST in reads
        self.reads_batch_oldest = Reads.BATCH_OLDEST in reads
        self.reads_urgent = Reads.URGENT in reads
        self.next_tick_ns = policy.tick_ns or NEVER_NS
        self.service_ns = predictions(spec)
        self.downstream_ns: Sequence[int] = ()
        """Set once all stages are known."""

        self.table = table
        self.limited = (
            LimitedQueue(spec.discipline, table, policy.limits) if policy.limits else None
        )
        """The queue, where its requests have only so much time in it or its levels a bound."""
        self.queue: Queue = self.limited or queue_for(spec.discipline, table)
        self.admits = None if spec.admission is None else admits(spec.admission)
        self.admission_state = [] if spec.admission is None else spec.admission.initial_state()
        self.queue_bound = NO_SIZE if spec.queue_bound is None else spec.queue_bound
        self.guarded = guarded or spec.queue_bound is not None
        """Not every request may enter."""
        self.waiting = 0
        self.waiting_items = 0
        """Kept only where requests differ in size."""
        self.parents = len(spec.parents)
        self.joining = (
            Joining(self.parents, spec.merge, table.arrival_ns) if self.parents > 1 else None
        )
        self.given_up_by: list[Joining] = []
        """Joins after which this stage's work for a request is of no use."""
        self.children: list[StageState] = []
        self.is_root = not spec.parents

        self.up = spec.there
        self.idle = (1 << spec.there) - 1
        """Bit r is set while replica r is up and runs nothing."""
        self.running: list[StartBatch | None] = [None] * spec.replicas
        """By replica, its batch; and of that batch:"""
        self.row = [-1] * spec.replicas
        """its row in the journal;"""
        self.dispatched_ns = [-1] * spec.replicas
        """when it was sent."""
        self.retries: deque[Retry] = deque()
        self.returning = 0
        """Replicas that are down and will come back."""
        self.down = [(replica, 0, -1) for replica in range(spec.there, spec.replicas)]
        """(replica, from_ns, to_ns), to_ns -1 while it is down."""
        self.devices = [devices[name] for name in dict.fromkeys(spec.device)]
        self.device_of = [devices[name] for name in spec.device]
        self.rivals: tuple[StageState, ...] = ()
        """Stages on its devices whose policies have a say in who is asked first, itself included; none where
        its own has no say. Set once all stages are known.
        """
        self.always_ready = not spec.device
        """No device is shared: an idle replica can always start."""
        self.plain = self.always_ready and spec.max_items is None
        """What can be sent follows from the counts of waiting requests and idle replicas alone."""
        self.idle_since_ns = 0
        self.last_dispatch_ns = -1
        self.rate_hz = 0.0
        self.load = 0.0
        self.pipeline_load = 0.0
        """Estimates; 0 where no policy reads them."""
        self.batches = 0

        self.wake_size = 1
        """Ask the policy once so many wait."""
        self.wake_ns = NEVER_NS
        """Or at this time."""
        self.journal = StageJournal()
        self.keys: Sequence[int] = table.keyed() if spec.keyed else ()
        """By request, at a stage that coalesces or has locality."""
        self.flight = Flight(self.keys) if spec.coalesce and spec.coalesce.in_flight else None
        self.caches = Caches(spec.locality, spec.replicas, self.keys) if spec.locality else None
        self.scaling = (
            Autoscaling(spec.autoscale, spec.there, spec.replicas) if spec.autoscale else None
        )
        self.as_chosen: AsChosen | None = None
        """Its degradation, where that is by request; set once all stages are known."""
        self.degrading = (
            Degrading(spec.degrade, len(spec.levels), spec.skips_at)
            if spec.degrade and spec.levels
            else None
        )
        self.hedging = (
            Hedging(spec.hedge, self.running, self.row, self.service_ns, self.journal)
            if spec.hedge
            else None
        )

    @property
    def can_be_asked(self) -> bool:
        """Whether the policy holds, or awaits a first request: not where no batch could start."""
        return self.wake_size != UNABLE

    def ready(self) -> bool:
        """Whether a batch could start now, on some replica."""
        if self.always_ready or not self.idle:
            return self.idle != 0
        if len(self.devices) == 1:
            return self.devices[0].free > 0
        return any(device.free for device in self._idle_devices())

    def pick(self) -> int:
        """The lowest idle replica whose device has a free slot; only when :meth:`ready`."""
        idle = self.idle
        if self.always_ready or len(self.devices) == 1:
            return (idle & -idle).bit_length() - 1
        return next(
            replica
            for replica, device in enumerate(self.device_of)
            if idle >> replica & 1 and device.free
        )

    def startable(self) -> int:
        """The replicas that could start a batch now, as bits."""
        if self.always_ready:
            return self.idle
        return sum(
            1 << replica
            for replica, device in enumerate(self.device_of)
            if self.idle >> replica & 1 and device.free
        )

    def ready_replicas(self) -> int:
        """How many batches could start now."""
        if self.always_ready:
            return self.idle.bit_count()
        idle_on: dict[int, int] = {}
        for device in self._idle_devices():
            idle_on[id(device)] = idle_on.get(id(device), 0) + 1
        return sum(min(device.free, idle_on.get(id(device), 0)) for device in self.devices)

    def _idle_devices(self) -> list[DeviceState]:
        idle = self.idle
        return [device for replica, device in enumerate(self.device_of) if idle >> replica & 1]

    def sendable(self) -> int:
        """How many of the first requests make one batch: by count, and by items (at least one)."""
        return self.fit(self.queue, min(self.waiting, self.spec.max_batch))

    def fit(self, requests: Iterable[int], most: int) -> int:
        """How many of the first of these, at most ``most``, make one batch by items; one at least."""
        if self.spec.max_items is None:
            return most
        left = self.spec.max_items
        fit = 0
        computed: set[int] = set()
        for request in requests:
            if self.spec.coalesce is None:
                left -= self.table.items[request]
            elif self.keys[request] not in computed:
                computed.add(self.keys[request])
                left -= self.table.items[request]
            if fit == most or (left < 0 and fit):
                break
            fit += 1
        return fit

    def lapses_ns(self) -> int:
        """When a request will have been in the queue for longer than it may."""
        if self.limited is None:
            return NEVER_NS
        return min(self.limited.due_ns(), NEVER_NS - 1) + 1

    def folded(self, batch: StartBatch) -> StartBatch:
        """A batch as it is run where requests of one key are computed once."""
        found = fold(batch.requests, self.keys)
        if found is None:
            return batch
        items = self.table.items
        count = sum(map(items.__getitem__, found.computed))
        return batch._replace(fold=found, items=count)

    def full(self) -> bool:
        """A batch can grow no more by items."""
        if self.spec.max_items is None:
            return False
        items = self.waiting if self.table.unit_items else self.waiting_items
        return items >= self.spec.max_items

    @property
    def has_say(self) -> bool:
        """Whether its policy has a say in which of the stages on its devices is asked first."""
        return bool(self.devices) and has_urgency(self.policy)

    def view(self) -> View:
        """What the policy sees now."""
        head = self.queue.head() if self.reads_head else None
        waiting = self.waiting
        max_batch = self.spec.max_batch
        plain = self.plain
        # tuple.__new__ skips the named tuple's own constructor, which costs as much as all the rest.
        return tuple.__new__(
            View,
            (
                waiting,
                (waiting if waiting < max_batch else max_batch) if plain else self.sendable(),
                waiting if self.table.unit_items else self.waiting_items,
                self.queue.oldest_ns(),
                self._earliest_deadline_ns() if self.reads_deadlines else NEVER_NS,
                self.idle.bit_count() if plain else self.ready_replicas(),
                self.up,
                self.idle_since_ns,
                self._next_idle_ns() if self.reads_next_idle else NEVER_NS,
                self.last_dispatch_ns,
                max_batch,
                self.rate_hz,
                self.load,
                self.pipeline_load,
                self.service_ns,
                NEVER_NS if head is None else self.table.arrival_ns[head[0]],
                NEVER_NS if head is None else head[1],
                NEVER_NS if head is None else self.table.deadline_ns[head[0]],
                self.queue.newest_ns() if self.reads_newest else NEVER_NS,
                self.downstream_ns,
                self._batch_oldest_ns() if self.reads_batch_oldest else NEVER_NS,
                self.queue.urgent() if self.reads_urgent else 0,
            ),
        )

    def urgency(self, now_ns: int) -> int:
        """By its policy; the lower, the sooner it is asked."""
        return self.policy.urgency(self.view(), now_ns, self.state)

    def _batch_oldest_ns(self) -> int:
        fit = self.sendable()
        return self.queue.oldest_of(fit) if fit else NEVER_NS

    def _earliest_deadline_ns(self) -> int:
        return min(map(self.table.deadline_ns.__getitem__, self.queue), default=NEVER_NS)

    def _next_idle_ns(self) -> int:
        return min(
            (
                dispatched_ns + self.service_ns[len(batch.computed)]
                for batch, dispatched_ns in zip(self.running, self.dispatched_ns, strict=True)
                if batch is not None
            ),
            default=NEVER_NS,
        )
