"""The rule of TorchServe's batches: one worker at a time polls the model's queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Reads, RulePolicy, State, View
from policies.fixed import held_until
from policies.knobs import knob
from policies.receiving import first_receive_ns

_WITHOUT_DELAY = 2
"""Most requests of a batch without delay: whether any is left is looked at after the second."""


@dataclass(frozen=True, slots=True)
class TorchServe(RulePolicy):
    """As TorchServe does: the worker that holds the model's lock polls a first job, then more until it
    has ``batchSize`` of them or ``max_batch_delay`` has passed since the first.

    Time in the queue while all workers were busy does not count. With a delay of 0 a batch has at most
    two jobs, however many wait: the loop looks at what is left of the delay after it has taken one
    more. TorchServe's ``batchSize`` is the stage's ``max_batch``, its workers are ``replicas``,
    ``jobQueueSize`` is ``queue_bound``, ``clientTimeoutInMills`` a deadline with ``expire``.

    Source: ``pollInferJob`` in TorchServe's Model.java; bounds of ModelConfig.java.
    """

    kind: ClassVar[str] = "torchserve"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    max_batch_delay_ns: int = knob(
        "longest wait from the first job polled", default=100_000_000, ge=0
    )

    @staticmethod
    def rule(view: View, now_ns: int, state: State, max_batch_delay_ns: int) -> Answer:
        """Equation: send iff waiting >= max_batch, or now >= first poll + delay; two without delay."""
        if max_batch_delay_ns == 0:
            return min(view.sendable, _WITHOUT_DELAY), 0, 0
        return held_until(view, now_ns, first_receive_ns(view) + max_batch_delay_ns, 0)
