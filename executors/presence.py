"""Which stages' results a request has where it is served, after joins that went on without some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.pipeline import Pipeline

Mask = NDArray[np.bool_]
"""(rows,), one a request."""

Went = Callable[[int, int], Mask | None]
"""By stage and number of its parent: which of a batch's requests went on from the stage with that parent's
result; None where all did. A stage that no request went on from says what it likes."""


@dataclass(frozen=True, slots=True)
class Ways:
    """The graph of a pipeline, by index of stage."""

    parents: tuple[tuple[int, ...], ...]
    before: tuple[frozenset[int], ...]
    """All stages from which a way leads to each."""

    @staticmethod
    def of(pipeline: Pipeline) -> Ways:
        """Those of a pipeline, whose stages are in topological order."""
        index = {stage.name: number for number, stage in enumerate(pipeline.stages)}
        parents = tuple(tuple(index[name] for name in stage.parents) for stage in pipeline.stages)
        before: list[frozenset[int]] = []
        for own in parents:
            before.append(frozenset(own).union(*(before[parent] for parent in own)))
        return Ways(parents, tuple(before))

    def through(self, stage: int, number: int, producer: int, went: Went) -> Mask | None:
        """Which requests of a batch have the producer's result at ``stage`` by way of parent ``number``.

        None where all have.
        """
        parent = self.parents[stage][number]
        here = went(stage, number)
        if parent == producer:
            return here
        return _both(here, self.reaches(parent, producer, went))

    def reaches(self, stage: int, producer: int, went: Went) -> Mask | None:
        """The same by way of any parent that comes after the producer, or is it."""
        found: Mask | None = None
        for number, parent in enumerate(self.parents[stage]):
            if parent == producer or producer in self.before[parent]:
                way = self.through(stage, number, producer, went)
                if way is None:
                    return None
                found = way if found is None else found | way
        return found


def went_on(gone: Mapping[int, Mapping[int, int]], requests: Sequence[int]) -> Went | None:
    """What a scheduler knows of a batch: by join, of requests that went on without a branch, the bits of
    those that were there. None where no request of the batch did so anywhere.
    """
    bits = {
        stage: [there.get(request, -1) for request in requests] for stage, there in gone.items()
    }
    some = {stage: np.array(row, np.int64) for stage, row in bits.items() if max(row) >= 0}
    if not some:
        return None
    return lambda stage, number: (
        (some[stage] >> number & 1).astype(np.bool_) if stage in some else None
    )


def _both(one: Mask | None, other: Mask | None) -> Mask | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other
