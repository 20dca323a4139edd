"""Whether the parts together are the whole model, and whether a batch is its requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from executors.exported import like
from executors.partition.capture import Captured
from executors.partition.errors import PartitionError
from executors.partition.loading import ExportedModel, load_model
from executors.partition.parts import Part

TOLERANCE = 1e-6
"""Largest difference from the whole model, relative to the largest value of the output."""
ROW_TOLERANCE = 1e-3
"""Largest difference of a row alone from the same row in a batch; sums may go in another order."""
_ROWS_ALONE = 3


@dataclass(frozen=True, slots=True)
class Equality:
    """How the parts' answers lie to the whole model's."""

    batches: int
    rows: int
    largest: float
    """The largest relative difference; 0 where all bits are the same."""

    @property
    def exact(self) -> bool:
        """Whether all bits are the same."""
        return self.largest == 0.0

    def __str__(self) -> str:
        what = (
            "bit-equal to the whole model"
            if self.exact
            else f"within {self.largest:.1g} of the whole model, relative"
        )
        return f"{what} on {self.rows} random rows in {self.batches} batches"


def load_parts(folder: Path, parts: Sequence[Part], device: str = "cpu") -> list[ExportedModel]:
    """The parts as their stages load them."""
    return [load_model(folder / f"{part.name}.pt2", device) for part in parts]


def recombined(
    models: Sequence[ExportedModel], inputs: Mapping[str, Tensor], outputs: Sequence[str]
) -> dict[str, Tensor]:
    """The answers of the parts, one after another, each with what those before put out."""
    known = dict(inputs)
    with torch.inference_mode():
        for model in models:
            known.update(model(known))
    return {name: known[name] for name in outputs}


def check_equal(
    captured: Captured, models: Sequence[ExportedModel], seed: int, sizes: Sequence[int]
) -> Equality:
    """Hold the parts against the whole on random batches of these sizes.

    Raises PartitionError where they differ by more than ``TOLERANCE``, and where a row's answer depends
    on the rest of its batch.
    """
    rng = np.random.default_rng(seed)
    largest = 0.0
    for size in sizes:
        inputs = {
            name: torch.from_numpy(like(example.numpy(), rng, size))
            for name, example in captured.examples.items()
        }
        whole = captured.answers(inputs)
        parts = recombined(models, inputs, list(captured.outputs))
        for name, expected in whole.items():
            difference = _difference(parts[name], expected)
            if difference > TOLERANCE:
                raise PartitionError(
                    f"{captured.name}: output {name!r} of the parts differs from the whole model's by"
                    f" {difference:.1g}, relative, on a batch of {size}; nothing was written"
                )
            largest = max(largest, difference)
        _check_rows(captured, inputs, whole, size)
    return Equality(len(sizes), sum(sizes), largest)


def _check_rows(
    captured: Captured, inputs: Mapping[str, Tensor], whole: Mapping[str, Tensor], size: int
) -> None:
    for row in range(min(size, _ROWS_ALONE)):
        alone = captured.answers({name: tensor[row : row + 1] for name, tensor in inputs.items()})
        for name, expected in whole.items():
            if _difference(alone[name], expected[row : row + 1]) > ROW_TOLERANCE:
                raise PartitionError(
                    f"{captured.name}: output {name!r} of a row depends on the other rows of its batch,"
                    " so that requests cannot share one; a stage answers each row for itself"
                )


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value; infinite where shapes or gaps differ."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    if torch.equal(found, expected) or expected.numel() == 0:
        return 0.0
    if not expected.is_floating_point():
        return float("inf")
    if not torch.equal(found.isnan(), expected.isnan()):
        return float("inf")
    scale = float(expected.nan_to_num().abs().max()) or 1.0
    return float((found - expected).nan_to_num().abs().max()) / scale
