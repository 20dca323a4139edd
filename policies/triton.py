"""The dynamic batcher of NVIDIA Triton Inference Server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import NO_SIZE, Answer, Reads, RulePolicy, State, View
from policies.knobs import knob


@dataclass(frozen=True, slots=True)
class Triton(RulePolicy):
    """Triton's dynamic batcher: a batch of a preferred size goes at once, anything else once the oldest
    has waited ``max_queue_delay``.

    The wait is counted from the oldest request's entry into the queue, time spent while all instances
    were busy included. Once it is over, everything that fits goes, preferred size or not. Without a
    delay nothing is held: the largest preferred size that fits goes, or everything where none does.

    Triton's ``max_batch_size`` is the stage's ``max_batch``, its instances are ``replicas``. Source:
    triton-inference-server/core, ``DynamicBatchScheduler::GetDynamicBatch``.
    """

    kind: ClassVar[str] = "triton"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    max_queue_delay_ns: int = knob("longest that the oldest request is held", default=0, ge=0)
    preferred_batch_size: tuple[int, ...] = knob(
        "sizes of batches that go at once; none stands for max_batch alone", default=(), ge=1
    )

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
        until_ns = view.oldest_enqueued_ns + max_queue_delay_ns
        over = max_queue_delay_ns > 0 and now_ns >= until_ns
        if fitting > 0 and not over:
            return fitting, 0, 0
        full = view.sendable >= largest or view.sendable < view.waiting
        if full or over or max_queue_delay_ns == 0:
            return view.sendable, 0, 0
        return 0, until_ns, following
