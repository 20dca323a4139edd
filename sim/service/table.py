"""Batches whose time was measured at some sizes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

from numpy.random import Generator

from policies.knobs import knob
from sim.service.base import LONGEST_NS, Float64, ScaledModel, lognormal_noise


@dataclass(frozen=True)
class Table(ScaledModel):
    """The mean is linear between measured sizes, flat below the smallest, and beyond the largest goes
    on as between the last two (never downwards); noise multiplies it. Where `per_candidate` is given, a
    point of n requests has n * per_candidate * (those that come in - candidates) added to it.
    """

    kind: ClassVar[str] = "table"

    points_ns: Mapping[int, int] = knob("requests in a batch to its time", ge=0, le=LONGEST_NS)
    cv: float = knob("coefficient of variation, lognormal", default=0.0, ge=0, le=100)
    per_candidate_ns: int = knob(
        "part of the time that each candidate adds that comes in with a request",
        default=0,
        ge=0,
        le=LONGEST_NS,
    )
    candidates: int | None = knob(
        "candidates that came in with each request when it was measured, needed with per_candidate",
        default=None,
        ge=1,
    )

    def __post_init__(self) -> None:
        if self.per_candidate_ns and self.candidates is None:
            raise ValueError(
                "has a per_candidate, and not how many came in when it was measured; give `candidates`"
            )
        if not self.points_ns:
            raise ValueError("`points` needs one batch size or more, as in {1: 1ms, 8: 2.1ms}")
        least = min(self.points_ns)
        if least < 1:
            raise ValueError(f"`points` takes batch sizes from 1 on, not {least}")

    def expected_ns(self, requests: int, items: int) -> float:  # noqa: ARG002
        """The mean; items do not count."""
        sizes, times, slopes = self._segments
        at = bisect_right(sizes, requests) - 1
        if at < 0:
            return times[0]
        return times[at] + slopes[at] * (requests - sizes[at])

    @property
    def counts(self) -> str:
        """``per_candidate``, where it is given."""
        return "per_candidate" if self.per_candidate_ns else ""

    def with_candidates(self, candidates: int) -> Self:
        """Each request of a batch takes what more candidates than were measured add, or fewer save; no
        point goes below 0.
        """
        if self.candidates is None or not self.per_candidate_ns:
            return self
        added_ns = self.per_candidate_ns * (candidates - self.candidates)
        points_ns = {size: max(0, ns + size * added_ns) for size, ns in self.points_ns.items()}
        return replace(self, points_ns=points_ns, per_candidate_ns=0, candidates=None)

    @property
    def noisy(self) -> bool:
        """Not where it does not vary."""
        return self.cv > 0

    def draw(self, rng: Generator, count: int) -> Float64:
        """Lognormal of mean 1."""
        return lognormal_noise(rng, count, self.cv)

    def __hash__(self) -> int:
        return hash(
            (tuple(sorted(self.points_ns.items())), self.cv, self.per_candidate_ns, self.candidates)
        )

    @cached_property
    def _segments(self) -> tuple[list[int], list[float], list[float]]:
        """Sizes in order, the time at each, and the time added by each further request."""
        sizes = sorted(self.points_ns)
        times = [float(self.points_ns[size]) for size in sizes]
        slopes = [
            (times[k + 1] - times[k]) / (sizes[k + 1] - sizes[k]) for k in range(len(sizes) - 1)
        ]
        beyond = max(0.0, slopes[-1]) if slopes else 0.0
        return sizes, times, [*slopes, beyond]
