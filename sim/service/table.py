"""Batches whose time was measured at some sizes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

from numpy.random import Generator

from configs.measured_width import MeasuredWidth
from policies.knobs import knob
from sim.service.base import LONGEST_NS, Float64, ScaledModel, lognormal_noise


@dataclass(frozen=True)
class Table(ScaledModel):
    """The mean is linear between measured sizes, flat below the smallest, and beyond the largest goes
    on as between the last two (never downwards); noise multiplies it.
    """

    kind: ClassVar[str] = "table"

    points_ns: Mapping[int, int] = knob("requests in a batch to its time", ge=0, le=LONGEST_NS)
    cv: float = knob("coefficient of variation, lognormal", default=0.0, ge=0, le=100)
    candidates: int | None = knob(
        "candidates that came in with each request when it was measured", default=None, ge=1
    )
    share: float = knob(
        "part of the time that grows in proportion to the candidates that come in",
        default=0.0,
        ge=0,
        le=1,
    )

    def __post_init__(self) -> None:
        if self.share and self.candidates is None:
            raise ValueError(
                f"has a share of {self.share:g} that grows with the candidates, and not how many there were"
                " when it was measured; give `candidates`"
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
        """``share``, where it is given."""
        return "share" if self.share else ""

    def with_candidates(self, candidates: int) -> Self:
        """All points by the factor of :class:`MeasuredWidth`, to the nearest nanosecond."""
        if self.candidates is None or not self.share:
            return self
        factor = MeasuredWidth(self.candidates, self.share).factor(candidates)
        points_ns = {size: round(time_ns * factor) for size, time_ns in self.points_ns.items()}
        return replace(self, points_ns=points_ns, candidates=None, share=0.0)

    @property
    def noisy(self) -> bool:
        """Not where it does not vary."""
        return self.cv > 0

    def draw(self, rng: Generator, count: int) -> Float64:
        """Lognormal of mean 1."""
        return lognormal_noise(rng, count, self.cv)

    def __hash__(self) -> int:
        return hash((tuple(sorted(self.points_ns.items())), self.cv, self.candidates, self.share))

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
