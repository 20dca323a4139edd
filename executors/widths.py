"""What candidates take: batches of the same stages at work, every other one shown fewer of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from configs.measured_width import MeasuredWidth
from executors.levels import served_levels
from policies.contract import Reads, State, View
from policies.degrade import Degrade, Level
from policies.pipeline import Pipeline, Stage
from policies.runlog import BatchLog, RunLog

LEAST_BATCHES = 20
"""At either width, sizes taken together: fewer say nothing."""


@dataclass(frozen=True, slots=True)
class Width:
    """How many candidates come into a stage, and how many it is shown to learn what they take."""

    candidates: int
    narrow: int | None
    """None where no fewer can be had."""


@dataclass(frozen=True)
class Alternating(Degrade):
    """Every other batch at the last level, so that both meet the same machine."""

    kind: ClassVar[str] = "alternating"
    reads: ClassVar[frozenset[Reads]] = frozenset()

    def initial_state(self) -> list[int]:
        """Whether the last batch was at the last level."""
        return [0]

    @staticmethod
    def rule(view: View, now_ns: int, state: State, levels: int) -> int:
        """The last level, or full service."""
        state[0] = 1 - state[0]
        return levels * state[0]


def alternating(pipeline: Pipeline, probes: Mapping[str, int]) -> Pipeline:
    """The pipeline with every other batch of the probed stages at the level that is there for it."""

    def of(stage: Stage) -> Stage:
        if stage.name not in probes:
            return stage
        levels = (Level(1.0),) * (served_levels(stage) + 1)
        return replace(stage, levels=levels, degrade=Alternating())

    return replace(pipeline, stages=tuple(map(of, pipeline.stages)))


def measured_widths(
    logs: Sequence[RunLog], widths: Mapping[str, Width]
) -> dict[str, MeasuredWidth]:
    """By stage what alternating runs tell; not what a candidate takes where they were too short."""
    found = {}
    for name, width in widths.items():
        runs = [stage.batches for log in logs for stage in log.stages if stage.name == name]
        saved_ns = saved_by_request(runs) if width.narrow is not None and runs else None
        if saved_ns is None or width.narrow is None:
            found[name] = MeasuredWidth(width.candidates)
        else:
            each_ns = saved_ns / (width.candidates - width.narrow)
            found[name] = MeasuredWidth(width.candidates, each_ns)
    return found


def saved_by_request(runs: Sequence[BatchLog]) -> float | None:
    """Nanoseconds that a request takes less at the cheaper level, 0 or more; None where too few batches
    were seen at both.

    For each size the difference of the medians, and through those the line from the origin that fits best,
    a size counting as often as both levels had it.
    """
    requests, times_ns, level = (np.concatenate(column) for column in _columns(runs))
    seen = up = down = 0.0
    for size in np.unique(requests).tolist():
        at_size = requests == size
        full, less = times_ns[at_size & (level == 0)], times_ns[at_size & (level > 0)]
        count = min(len(full), len(less))
        if count:
            seen += count
            up += count * size * float(np.median(full) - np.median(less))
            down += count * size**2
    return max(up / down, 0.0) if seen >= LEAST_BATCHES else None


def _columns(runs: Sequence[BatchLog]) -> tuple[list[NDArray[np.int64]], ...]:
    """Requests, times and levels of all batches that were served to their end."""
    columns: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    for batches in runs:
        whole = ~batches.lost
        level = np.zeros(len(whole)) if batches.level is None else batches.level
        times_ns = batches.finished_ns - batches.dispatched_ns
        for column, values in zip(columns, (batches.requests, times_ns, level), strict=True):
            column.append(values[whole].astype(np.int64))
    return columns
