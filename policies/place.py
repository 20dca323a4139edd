"""A policy's place in a pipeline: what it may be fitted to before a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from policies.pipeline import Pipeline, Stage


def _no_cv(index: int) -> float:  # noqa: ARG001
    return 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """A stage of a pipeline, and what the pipeline is to reach.

    ``rate_hz`` is the mean arrival rate, where it is known before the run. ``cv(index)`` is the coefficient
    of variation of the service time of a stage's full batches, 0 where it is not known.
    """

    pipeline: Pipeline
    index: int
    objective_ns: int | None = None
    """Latency to stay within."""
    rate_hz: float | None = None
    cv: Callable[[int], float] = _no_cv

    @property
    def stage(self) -> Stage:
        """The stage itself."""
        return self.pipeline.stages[self.index]
