"""The batch scheduler of TensorFlow Serving."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from policies.contract import NO_SIZE, Answer, Policy, Reads, RulePolicy, State, View
from policies.fixed import held
from policies.knobs import knob
from policies.pipeline import Discipline
from policies.place import Place
from policies.queue_limits import QueueLimit

Mixing = Literal[
    "low_priority_padding_with_max_batch_size",
    "low_priority_padding_with_next_allowed_batch_size",
    "priority_isolation",
    "priority_merge",
]
_TO_MAX, _TO_NEXT, _MERGED = 0, 1, 3
"""Their numbers, as far as the rule tells them apart."""


@dataclass(frozen=True, slots=True)
class TfServing(RulePolicy):
    """TensorFlow Serving's batch scheduler: a full batch goes at once, any other once its first request
    has waited ``batch_timeout``.

    The wait is counted from the entry of the batch's first request, time spent while all batch threads
    were busy included. A batch that the next request does not fit into is closed, and goes at once.

    With a ``low_priority_max_batch_size`` and ``discipline: priority``, requests of level 0 are of high
    priority and all others of low. Batches are made of the high; what room one has when it goes is filled
    from the low, up to ``max_batch`` or to the next allowed size (the stage's ``pad_to``), or with
    ``priority_isolation`` not at all. The low go by themselves only while none of the high waits: so many
    of them, or those that there are once the first has waited its own timeout. With ``priority_merge`` both
    count as one batch, whose wait is that of the first of either, for ``batch_timeout`` where one of the
    high is there.

    TensorFlow Serving's ``max_batch_size`` is the stage's ``max_batch`` (``max_items`` where requests have
    sizes), its ``num_batch_threads`` are ``replicas``. Source: tensorflow/tensorflow,
    ``core/kernels/batching_util/shared_batch_scheduler.h``.
    """

    kind: ClassVar[str] = "tf_serving"
    reads: ClassVar[frozenset[Reads]] = frozenset({Reads.HEAD, Reads.URGENT})

    batch_timeout_ns: int = knob(
        "longest that the first request of a batch is held", default=0, ge=0
    )
    low_priority_max_batch_size: int = knob(
        "size of a batch of low priority that goes at once; 0 stands for no priorities",
        default=0,
        ge=0,
    )
    low_priority_batch_timeout_ns: int = knob(
        "longest that the first of a batch of low priority is held", default=0, ge=0
    )
    low_priority_max_enqueued_batches: int = knob("most such batches that wait", default=0, ge=0)
    mixed_priority_batching_policy: Mixing = knob(
        "what low priority adds to a batch of high",
        default="low_priority_padding_with_max_batch_size",
    )
    allowed_batch_sizes: tuple[int, ...] = knob(
        "sizes that low priority fills a batch up to; none stands for the stage's pad_to",
        default=(),
        ge=1,
    )

    @property
    def mixing(self) -> int:
        """The policy for mixed priorities as a number."""
        return get_args(Mixing).index(self.mixed_priority_batching_policy)

    @property
    def limits(self) -> tuple[QueueLimit, ...]:
        """So many batches of low priority may wait."""
        if self.low_priority_max_batch_size == 0:
            return ()
        most = self.low_priority_max_enqueued_batches * self.low_priority_max_batch_size
        return QueueLimit(), QueueLimit(bound=most)

    def check(self, max_batch: int) -> None:
        """A batch of low priority is no larger than the stage's, and may wait."""
        low = self.low_priority_max_batch_size
        if low > max_batch:
            raise ValueError(
                f"low_priority_max_batch_size must be at most max_batch ({max_batch}), not {low}"
            )
        if low and self.low_priority_max_enqueued_batches == 0:
            raise ValueError(
                "low_priority_max_enqueued_batches must be at least 1 where"
                " low_priority_max_batch_size is set, not 0: every request of low priority would be"
                " refused"
            )

    def planned(self, place: Place) -> Policy:
        """With the stage's sizes. Priorities need a queue that is served by them."""
        if self.low_priority_max_batch_size and place.stage.discipline is not Discipline.PRIORITY:
            raise ValueError("low_priority_max_batch_size needs discipline: priority")
        if self.low_priority_max_batch_size == 0 or self.allowed_batch_sizes:
            return self
        return dataclasses.replace(self, allowed_batch_sizes=place.stage.pad_to)

    @staticmethod
    def rule(
        view: View,
        now_ns: int,
        state: State,
        batch_timeout_ns: int,
        low_priority_max_batch_size: int,
        low_priority_batch_timeout_ns: int,
        mixing: int,
        allowed_batch_sizes: tuple[int, ...],
    ) -> Answer:
        """Equation: send iff the batch is full or closed, or now >= first + batch_timeout, where the first
        is the oldest of those whom the batch is made of; with priorities see the class.
        """
        if low_priority_max_batch_size == 0:
            return held(view, now_ns, batch_timeout_ns, 0)
        high, most = view.urgent, view.max_batch
        if mixing == _MERGED and high < most:
            timeout_ns = batch_timeout_ns
            if high == 0:  # once they are in the batch, its own timeout counts as well
                timeout_ns = max(timeout_ns, low_priority_batch_timeout_ns)
            until_ns = view.oldest_enqueued_ns + timeout_ns
            if now_ns >= until_ns or view.waiting >= most:
                return view.sendable, 0, 0
            # The first of the high changes whose timeout it is.
            return 0, until_ns, most if high > 0 else view.waiting + 1
        if high > 0:
            until_ns = view.head_enqueued_ns + batch_timeout_ns
            if now_ns < until_ns and high < most:
                return 0, until_ns, view.waiting + most - high
            target = filled(min(high, most), most, mixing, allowed_batch_sizes)
            return min(target, view.sendable), 0, 0
        until_ns = view.head_enqueued_ns + low_priority_batch_timeout_ns
        if now_ns >= until_ns or view.waiting >= low_priority_max_batch_size:
            return min(view.sendable, low_priority_max_batch_size), 0, 0
        return 0, until_ns, view.waiting + 1


def filled(high: int, most: int, mixing: int, allowed: tuple[int, ...]) -> int:
    """To how many a batch of so many of high priority is filled up. As ``GetLowPriorityTasksForPadding``."""
    if mixing == _TO_MAX:
        return most
    found = NO_SIZE
    if mixing == _TO_NEXT:
        for size in allowed:
            if size >= high:
                found = min(found, size)
    return high if found == NO_SIZE else min(found, most)
