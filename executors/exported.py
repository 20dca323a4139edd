"""A stage's model out of a ``.pt2`` archive. Needs no torch to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from executors.stage_model import ModelSource, StageModel
from policies.knobs import knob


@dataclass(frozen=True, slots=True)
class ExportedSource(ModelSource):
    """A model that ``torch.export`` has saved, or a part of one as ``delayline partition`` writes it.

    Its inputs' first dimension is the rows, a row a request. Nothing in the archive is unpickled or run
    while it is loaded; one that would need that is refused. ``keep`` has no meaning for it.
    """

    kind: ClassVar[str] = "exported"

    path: Path = knob("the archive; a part's weights lie beside it")

    def load(self, device: str, keep: int | None) -> StageModel:
        """Load the archive. Raises ArchiveError for one that cannot be a stage's model."""
        from executors.partition.archive import ArchiveError
        from executors.partition.loading import load_model

        if keep is not None:
            raise ArchiveError(
                f"{self.path} passes on what it was exported with; leave out keep: {keep}"
            )
        return load_model(self.path, device)

    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        """Random inputs like the archive's examples (see :func:`like`): those of the whole model, for
        a part.
        """
        from executors.partition.loading import examples_of

        return {name: like(rows, rng, count) for name, rows in examples_of(self.path).items()}


def like(example: NDArray[Any], rng: Generator, count: int) -> NDArray[Any]:
    """``count`` random rows like those of ``example`` (rows, ...).

    Floats are normal with the mean and the deviation of all, or standard normal where they do not vary.
    Integers are even between the least and the greatest that stands in their place, so that they are
    valid wherever those are; truth values are as often true as the example's.
    """
    shape = (count, *example.shape[1:])
    if example.dtype == np.bool_:
        truth: NDArray[Any] = rng.random(shape) < example.mean()
        return truth
    if np.issubdtype(example.dtype, np.integer):
        low, high = example.min(axis=0), example.max(axis=0)
        return rng.integers(low, high, shape, dtype=example.dtype, endpoint=True)
    mean, deviation = float(example.mean()), float(example.std())
    if not deviation:
        mean, deviation = 0.0, 1.0
    return rng.normal(mean, deviation, shape).astype(example.dtype)
