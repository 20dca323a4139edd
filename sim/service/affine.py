"""Batches that cost a fixed part and a part for each request and item."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from numpy.random import Generator

from policies.knobs import knob
from sim.service.base import LONGEST_NS, Float64, ScaledModel, lognormal_noise


@dataclass(frozen=True, slots=True)
class Affine(ScaledModel):
    """The mean is base + (per_request + per_candidate * candidates) * requests + per_item * items; noise
    multiplies it. Candidates are those that come in with a request: what the stages before `keep`.

    Fits measured inference times well: Inoue, "Queueing analysis of GPU-based inference servers with
    dynamic batching", Performance Evaluation 2021, section 2.
    """

    kind: ClassVar[str] = "affine"

    base_ns: int = knob("part of the time that every batch takes", default=0, ge=0, le=LONGEST_NS)
    per_request_ns: int = knob("time added by each request", default=0, ge=0, le=LONGEST_NS)
    per_item_ns: int = knob("time added by each item", default=0, ge=0, le=LONGEST_NS)
    cv: float = knob("coefficient of variation, lognormal", default=0.0, ge=0, le=100)
    per_candidate_ns: int = knob(
        "time added by each candidate that comes in with a request", default=0, ge=0, le=LONGEST_NS
    )

    def expected_ns(self, requests: int, items: int) -> float:
        """The mean. Raises ValueError while it is not known how many candidates come in."""
        if self.per_candidate_ns:
            raise ValueError(
                "per_candidate is given, and not how many candidates come in: ask `with_candidates`"
            )
        return self.base_ns + self.per_request_ns * requests + self.per_item_ns * items

    @property
    def counts(self) -> str:
        """``per_candidate``, where it is given."""
        return "per_candidate" if self.per_candidate_ns else ""

    def with_candidates(self, candidates: int) -> Self:
        """Each request takes the time of its candidates on top of its own."""
        each_ns = self.per_request_ns + candidates * self.per_candidate_ns
        return replace(self, per_request_ns=each_ns, per_candidate_ns=0)

    @property
    def per_item(self) -> float:
        """As the knob says."""
        return float(self.per_item_ns)

    @property
    def noisy(self) -> bool:
        """Not where it does not vary."""
        return self.cv > 0

    def draw(self, rng: Generator, count: int) -> Float64:
        """Lognormal of mean 1."""
        return lognormal_noise(rng, count, self.cv)
