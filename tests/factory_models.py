"""Factories for the tests of `executors.factory`: what a user might write, good and bad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from executors.stage_model import TensorSpec


class Scale:
    """Multiplies its input."""

    def __init__(self, factor: float, spec: TensorSpec) -> None:
        self.factor = factor
        self.inputs: Mapping[str, TensorSpec] = {"x": spec}
        self.outputs: Mapping[str, TensorSpec] = {"y": spec}

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return {"y": batch["x"] * self.factor}


class Counting(Scale):
    """Says what its requests look like."""

    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        return {"x": np.arange(count)}


def scale(device: str, keep: int | None, factor: float = 2.0) -> Scale:
    return Scale(factor, TensorSpec((3,), "float32"))


def listed(device: str, keep: int | None) -> Scale:
    return Scale(1.0, TensorSpec((-1,), "float32"))


def counting(device: str, keep: int | None) -> Counting:
    return Counting(1.0, TensorSpec((), "int64"))


def broken(device: str, keep: int | None) -> Scale:
    raise RuntimeError("no such checkpoint")


def nothing(device: str, keep: int | None) -> object:
    return object()


def specs_only(device: str, keep: int | None) -> object:
    class Specs:
        inputs: Mapping[str, TensorSpec] = {}
        outputs: Mapping[str, TensorSpec] = {}

    return Specs()


not_a_function = 3
