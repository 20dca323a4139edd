"""The dynamic batcher of NVIDIA Triton Inference Server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import NEVER_NS, NO_SIZE, Answer, Reads, RulePolicy, State, View
from policies.knobs import knob


@dataclass(frozen=True, slots=True)
class Triton(RulePolicy):
    """Triton's dynamic batcher: a batch of a preferred size goes at once, anything else once the oldest
    has waited ``max_queue_delay``.

    The wait is counted from the oldest request's entry into the queue, time spent while all instances
    were busy included. Once it is over, everything that fits goes, preferred size or not. Without a
    delay nothing is held: the largest preferred size that fits goes, or everything where none does.

    A request that has been in the queue for longer than ``queue_timeout`` when a batch is put together is
    rejected, as with the action REJECT.

    Triton's ``max_batch_size`` is the stage's ``max_batch``, its instances are ``replicas``. Source:
    triton-inference-server/core, ``DynamicBatchScheduler::GetDynamicBatch`` and
    ``PriorityQueue::PolicyQueue::ApplyPolicy``.
    """

    kind: ClassVar[str] = "triton"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.HEAD})

    max_queue_delay_ns: int = knob("longest that the oldest request is held", default=0, ge=0)
    preferred_batch_size: tuple[int, ...] = knob(
        "sizes of batches that go at once; none stands for max_batch alone", default=(), ge=1
    )
    queue_timeout_ns: int = knob(
        "time in the queue beyond which a request is rejected; 0 stands for none", default=0, ge=0
    )

    @property
    def sheds(self) -> bool:
        """Where there is a timeout."""
        return self.queue_timeout_ns > 0

    def check(self, max_batch: int) -> None:
        """As Triton's ``ValidateModelConfig``: no preferred size is beyond the maximum."""
        for size in self.preferred_batch_size:
            if size > max_batch:
                raise ValueError(
                    f"preferred_batch_size must be at most max_batch ({max_batch}), not {size}"
                )

    @staticmethod
    def rule(
        view: View,
        now_ns: int,
        state: State,
        max_queue_delay_ns: int,
        preferred_batch_size: tuple[int, ...],
        queue_timeout_ns: int,
    ) -> Answer:
        """Equation: reject the head where it entered more than the timeout ago. Else, with p the largest
        preferred size that fits and P the largest of all, send p where
        there is one and the delay is not over; else what fits, where that is P or more, can grow no
        more, or the delay is over or 0; else hold until then, or for the next preferred size, or until the
        head's time is up.
        """
        expires_ns = NEVER_NS
        if queue_timeout_ns > 0:
            expires_ns = view.head_enqueued_ns + queue_timeout_ns + 1
            if now_ns >= expires_ns:
                return -1, 0, 0
        count = len(preferred_batch_size)
        fitting, largest, following = 0, 0, NO_SIZE
        for i in range(max(count, 1)):
            size = preferred_batch_size[i] if count else view.max_batch
            largest = max(largest, size)
            if size <= view.sendable:
                fitting = max(fitting, size)
            else:
                following = min(following, size)
        until_ns = view.oldest_enqueued_ns + max_queue_delay_ns
        over = max_queue_delay_ns > 0 and now_ns >= until_ns
        if fitting > 0 and not over:
            return fitting, 0, 0
        full = view.sendable >= largest or view.sendable < view.waiting
        if full or over or max_queue_delay_ns == 0:
            return view.sendable, 0, 0
        return 0, min(until_ns, expires_ns), following
