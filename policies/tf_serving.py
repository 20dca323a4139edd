"""The batch scheduler of TensorFlow Serving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Reads, RulePolicy, State, View
from policies.fixed import held
from policies.knobs import knob


@dataclass(frozen=True, slots=True)
class TfServing(RulePolicy):
    """TensorFlow Serving's batch scheduler: a full batch goes at once, any other once its first request
    has waited ``batch_timeout``.

    The wait is counted from the entry of the batch's first request, time spent while all batch threads
    were busy included. A batch that the next request does not fit into is closed, and goes at once.

    TensorFlow Serving's ``max_batch_size`` is the stage's ``max_batch`` (``max_items`` where requests have
    sizes), its ``num_batch_threads`` are ``replicas``. Source: tensorflow/tensorflow,
    ``core/kernels/batching_util/shared_batch_scheduler.h``.
    """

    kind: ClassVar[str] = "tf_serving"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    batch_timeout_ns: int = knob(
        "longest that the first request of a batch is held", default=0, ge=0
    )

    @staticmethod
    def rule(view: View, now_ns: int, state: State, batch_timeout_ns: int) -> Answer:
        """Equation: send iff the batch is full or closed, or now >= oldest + batch_timeout."""
        return held(view, now_ns, batch_timeout_ns, 0)
