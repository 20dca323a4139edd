"""The dynamic batcher of NVIDIA Triton Inference Server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from policies.contract import NO_SIZE, Answer, Policy, Reads, RulePolicy, State, View
from policies.knobs import knob
from policies.pipeline import Discipline
from policies.place import Place
from policies.queue_limits import QueueLimit

MOST_WAITING = 2**32 - 1
"""``max_queue_size`` is a uint32."""
Action = Literal["reject", "delay"]


@dataclass(frozen=True, slots=True)
class TritonQueue:
    """What Triton calls a queue policy: that of one priority level. As ``ModelQueuePolicy`` in
    triton-inference-server/common, ``protobuf/model_config.proto``.
    """

    timeout_ns: int = knob(
        "time in the queue beyond which the action is taken; 0 stands for none", default=0, ge=0
    )
    timeout_action: Action = knob(
        "reject, or delay: serve it after the others of its level", default="reject"
    )
    max_queue_size: int = knob(
        "most requests of the level that wait; 0 stands for any number",
        default=0,
        ge=0,
        le=MOST_WAITING,
    )

    @property
    def limit(self) -> QueueLimit:
        """The same, as the scheduler keeps it."""
        return QueueLimit(
            self.timeout_ns, self.timeout_action == "delay", self.max_queue_size or NO_SIZE
        )


@dataclass(frozen=True, slots=True)
class Triton(RulePolicy):
    """Triton's dynamic batcher: a batch of a preferred size goes at once, anything else once the oldest
    has waited ``max_queue_delay``.

    The wait is counted from the entry into the queue of the oldest of the requests that the batch would
    take, time spent while all instances were busy included. Once it is over, everything that fits goes,
    preferred size or not. Without a delay nothing is held: the largest preferred size that fits goes, or
    everything where none does.

    A request that has been in the queue for longer than ``queue_timeout`` when a batch is put together is
    rejected, or with ``timeout_action: delay`` moved behind the others of its priority level, where it
    waits for as long as it takes. With ``discipline: priority`` each level has a queue of its own, with
    its own timeout, action and size.

    Triton's ``max_batch_size`` is the stage's ``max_batch``, its instances are ``replicas``. Source:
    triton-inference-server/core, ``DynamicBatchScheduler::GetDynamicBatch`` and
    ``PriorityQueue::PolicyQueue``.
    """

    kind: ClassVar[str] = "triton"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.BATCH_OLDEST})

    max_queue_delay_ns: int = knob("longest that the oldest request is held", default=0, ge=0)
    preferred_batch_size: tuple[int, ...] = knob(
        "sizes of batches that go at once; none stands for max_batch alone", default=(), ge=1
    )
    queue_timeout_ns: int = knob(
        "time in the queue beyond which timeout_action is taken; 0 stands for none",
        default=0,
        ge=0,
    )
    timeout_action: Action = knob(
        "reject, or delay: serve it after the others of its priority level", default="reject"
    )
    max_queue_size: int = knob(
        "most requests of one priority level that wait; 0 stands for any number",
        default=0,
        ge=0,
        le=MOST_WAITING,
    )
    priority_queue_policy: tuple[TritonQueue, ...] = knob(
        "queues of the levels 0, 1, ..., where they differ from the three above", default=()
    )

    @property
    def rest(self) -> TritonQueue:
        """The queue of every level that is not named."""
        return TritonQueue(self.queue_timeout_ns, self.timeout_action, self.max_queue_size)

    @property
    def limits(self) -> tuple[QueueLimit, ...]:
        """By level, the last for all that are not named; none where nothing is limited."""
        found = tuple(queue.limit for queue in (*self.priority_queue_policy, self.rest))
        return found if any(each != QueueLimit(0, each.puts_off) for each in found) else ()

    def check(self, max_batch: int) -> None:
        """As Triton's ``ValidateModelConfig``: no preferred size is beyond the maximum."""
        for size in self.preferred_batch_size:
            if size > max_batch:
                raise ValueError(
                    f"preferred_batch_size must be at most max_batch ({max_batch}), not {size}"
                )

    def planned(self, place: Place) -> Policy:
        """Queues of levels need levels, and one in the order of deadlines has no place behind the others."""
        discipline = place.stage.discipline
        if self.priority_queue_policy and discipline is not Discipline.PRIORITY:
            raise ValueError(
                "priority_queue_policy needs discipline: priority; without levels give queue_timeout,"
                " timeout_action and max_queue_size"
            )
        if discipline is Discipline.EDF and any(each.puts_off for each in self.limits):
            raise ValueError(
                "timeout_action: delay needs discipline fifo or priority: in the order of deadlines"
                " there is no behind the others"
            )
        return self

    @staticmethod
    def rule(
        view: View,
        now_ns: int,
        state: State,
        max_queue_delay_ns: int,
        preferred_batch_size: tuple[int, ...],
    ) -> Answer:
        """Equation: with p the largest preferred size that fits and P the largest of all, send p where
        there is one and the delay is not over; else what fits, where that is P or more, can grow no
        more, or the delay is over or 0; else hold until then, or for the next preferred size.
        """
        count = len(preferred_batch_size)
        fitting, largest, following = 0, 0, NO_SIZE
        for i in range(max(count, 1)):
            size = preferred_batch_size[i] if count else view.max_batch
            largest = max(largest, size)
            if size <= view.sendable:
                fitting = max(fitting, size)
            else:
                following = min(following, size)
        until_ns = view.batch_oldest_ns + max_queue_delay_ns
        over = max_queue_delay_ns > 0 and now_ns >= until_ns
        if fitting > 0 and not over:
            return fitting, 0, 0
        full = view.sendable >= largest or view.sendable < view.waiting
        if full or over or max_queue_delay_ns == 0:
            return view.sendable, 0, 0
        return 0, until_ns, following
