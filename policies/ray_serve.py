"""The batching decorator of Ray Serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.contract import Answer, Reads, RulePolicy, State, View
from policies.fixed import held_until
from policies.knobs import knob
from policies.receiving import first_receive_ns


@dataclass(frozen=True, slots=True)
class RayServe(RulePolicy):
    """Ray Serve's ``@serve.batch``: a full batch goes at once, any other ``batch_wait_timeout`` after its
    first request was taken from the queue.

    The first request is taken once the batch before it has ended, so time spent while the replica was
    busy does **not** count: a request that has waited for it is held for the whole timeout again, unless
    the batch fills. So it was until 2025; since then batches are closed while another runs, which is not
    modelled: see docs/servers.md.

    Ray Serve's ``max_batch_size`` is the stage's ``max_batch``. Every replica of Ray Serve has a queue of
    its own, so that the figures are Ray Serve's for ``replicas: 1``. Source: ray-project/ray,
    ``python/ray/serve/batching.py``, ``_BatchQueue.wait_for_batch``.
    """

    kind: ClassVar[str] = "ray_serve"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    batch_wait_timeout_ns: int = knob("longest wait for a batch to fill", ge=0)

    @staticmethod
    def rule(view: View, now_ns: int, state: State, batch_wait_timeout_ns: int) -> Answer:
        """Equation: send iff the batch is full, or now >= taken + batch_wait_timeout, where
        taken = max(oldest's entry, replica idle since, last dispatch).
        """
        return held_until(view, now_ns, first_receive_ns(view) + batch_wait_timeout_ns, 0)
