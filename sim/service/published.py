"""Batches whose time others have measured and published as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

from numpy.random import Generator

from configs.errors import ConfigError, Problem
from configs.published import BatchTimes, Per, by_size, load_published
from policies.knobs import knob
from sim.service.base import Float64, ServiceModel
from sim.service.forms import Form
from sim.service.scored import Scored


@dataclass(frozen=True)
class PublishedTimes(ServiceModel):
    """Mean and percentiles by batch size, as a table prints them, inline or in a file that
    ``delayline import-profile`` has written; ``sim.service.scores`` says what noise they make.

    Sizes count requests, or items where a request brings many of what the table calls a sample. The file
    is read when a time is first asked for, and raises ConfigError there where it cannot be used.
    """

    kind: ClassVar[str] = "published"

    path: Path | None = knob("file written by `delayline import-profile`", default=None)
    group: str | None = knob(
        "which of its groups, as in gpu=A30,precision=FP16; needed where it has several",
        default=None,
    )
    points: Mapping[int, BatchTimes] = by_size(
        "batch size to its `mean` and, as far as printed, `p50`, `p90`, `p95` and `p99`"
    )
    per: Per | None = knob(
        "what the sizes of `points` count; by default requests, a file says it itself", default=None
    )

    def __post_init__(self) -> None:
        if bool(self.points) == (self.path is not None):
            raise ValueError("give `points` or `path`: one of the two")
        if self.path is None and self.group is not None:
            raise ValueError("`group` chooses from a file; `points` has no groups")
        if self.path is not None and self.per is not None:
            raise ValueError("`per` belongs to `points`; the file says what its sizes count")
        if self.points and min(self.points) < 1:
            raise ValueError(f"`points` takes batch sizes from 1 on, not {min(self.points)}")
        if self.path is None:
            _ = (
                self._scored
            )  # what does not go together is told with its place in the configuration

    def expected_ns(self, requests: int, items: int) -> float:
        """The mean printed, or between two that are."""
        scored, by_items = self._scored
        return scored.expected_ns(items if by_items else requests)

    def draw(self, rng: Generator, count: int) -> Float64:
        """Scores: standard normal numbers, each by itself, since a table tells no order."""
        return rng.standard_normal(count)

    def time_ns(self, noise: float, requests: int, items: int) -> int:
        """The time at this score."""
        scored, by_items = self._scored
        return scored.time_ns(noise, items if by_items else requests)

    def form(self, largest: int) -> Form:  # noqa: ARG002
        """The curves by size."""
        scored, by_items = self._scored
        return scored.form(by_items=by_items)

    def __hash__(self) -> int:
        return hash((self.path, self.group, tuple(sorted(self.points)), self.per))

    @cached_property
    def _scored(self) -> tuple[Scored, bool]:
        """The times, and whether their sizes count items."""
        if self.path is None:
            return scored(self.points), self.per == "item"
        stamp = self.path.stat().st_mtime_ns if self.path.exists() else 0
        return _of_file(self.path, stamp, self.group)


def scored(points: Mapping[int, BatchTimes]) -> Scored:
    """The times of a table. Raises ValueError, with the size, where a mean and its percentiles do not go
    together.
    """
    means = {size: float(times.mean_ns) for size, times in points.items()}
    percentiles = {
        size: {percentile: float(ns) for percentile, ns in times.percentiles.items()}
        for size, times in points.items()
    }
    return Scored.of(means, percentiles)


@lru_cache(maxsize=256)
def _of_file(path: Path, stamp: int, group: str | None) -> tuple[Scored, bool]:  # noqa: ARG001
    """Kept, since a search asks for the same table in every trial; read anew where it has changed."""
    published = load_published(path)
    try:
        return scored(published.choose(group).points), published.per == "item"
    except ValueError as error:
        raise ConfigError([Problem(str(path), "", str(error))]) from error
