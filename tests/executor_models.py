"""Small models for the executor's tests; a module of its own so that worker processes can import it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from executors.stage_model import ModelSource, StageModel, TensorSpec

if TYPE_CHECKING:
    import torch

WIDTH = 3
RAISES = -1.0
"""A first input of this value makes a model raise."""
DIES = -2.0
"""And of this one, end its process."""


@dataclass(frozen=True, slots=True)
class Linear(ModelSource):
    """``gives = factor * takes + offset``, a row a request, after ``work_s`` of waiting."""

    kind: ClassVar[str] = "test-linear"

    takes: str = "x"
    gives: str = "y"
    factor: float = 1.0
    offset: float = 0.0
    work_s: float = 0.0
    also: str = ""
    """A second input, added to the first."""

    def load(self, device: str, keep: int | None) -> StageModel:
        return _Linear(self)

    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        return {self.takes: rng.random((count, WIDTH), np.float32)}


class _Linear:
    def __init__(self, source: Linear) -> None:
        self.source = source
        names = [source.takes, *([source.also] if source.also else [])]
        self.inputs: Mapping[str, TensorSpec] = {
            name: TensorSpec((-1,), "float32") for name in names
        }
        self.outputs: Mapping[str, TensorSpec] = {source.gives: TensorSpec((WIDTH,), "float32")}

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        source = self.source
        x = batch[source.takes]
        if (x[:, 0] == RAISES).any():
            raise ValueError("this row cannot be scored")
        if (x[:, 0] == DIES).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if source.also:
            x = x + batch[source.also]
        if source.work_s:
            time.sleep(source.work_s)
        return {source.gives: source.factor * x + source.offset}


@dataclass(frozen=True, slots=True)
class Unloadable(ModelSource):
    """Has no weights."""

    kind: ClassVar[str] = "test-unloadable"

    def load(self, device: str, keep: int | None) -> StageModel:
        raise FileNotFoundError("no such weights: rank.safetensors")

    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        return {"x": np.zeros((count, WIDTH), np.float32)}


@dataclass(frozen=True, slots=True)
class SlowAtFirst(Linear):
    """As :class:`Linear`; a batch that begins with a negative input is slow the first time it is run."""

    kind: ClassVar[str] = "test-slow-at-first"

    folder: str = ""
    """Where the processes note what has been run."""
    slow_s: float = 0.0

    def load(self, device: str, keep: int | None) -> StageModel:
        return _SlowAtFirst(self)


class _SlowAtFirst(_Linear):
    source: SlowAtFirst

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        first = float(batch[self.source.takes][0, 0])
        if first < 0:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(f"{self.source.folder}/{first}", os.O_CREAT | os.O_EXCL))
                time.sleep(self.source.slow_s)
        return super().__call__(batch)


@dataclass(frozen=True, slots=True)
class Seen(ModelSource):
    """``gives``: ``factor`` times the sum of the list that it is shown."""

    kind: ClassVar[str] = "test-seen"

    factor: float = 1.0
    gives: str = "y"
    width: int = -1
    each_s: float = 0.0
    """Waiting for each number that it is shown."""

    def load(self, device: str, keep: int | None) -> StageModel:
        return _Seen(self)

    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        return {"x": rng.random((count, WIDTH), np.float32)}


class _Seen:
    def __init__(self, source: Seen) -> None:
        self.source = source
        self.inputs: Mapping[str, TensorSpec] = {"x": TensorSpec((source.width,), "float32")}
        self.outputs: Mapping[str, TensorSpec] = {source.gives: TensorSpec((), "float32")}

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        if self.source.each_s:
            time.sleep(self.source.each_s * batch["x"].numel())
        return {self.source.gives: self.source.factor * batch["x"].sum(dim=1)}


@dataclass(frozen=True, slots=True)
class Ranked(ModelSource):
    """``width`` candidates of a user's number, ``step`` apart, their scores falling; after ``work_s``."""

    kind: ClassVar[str] = "test-ranked"

    step: int = 1
    width: int = 4
    work_s: float = 0.0
    gives: tuple[str, ...] = ("candidates", "scores")

    def load(self, device: str, keep: int | None) -> StageModel:
        return _Ranked(self)

    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        return {"user": rng.integers(0, 50, count)}


class _Ranked:
    def __init__(self, source: Ranked) -> None:
        self.source = source
        self.inputs: Mapping[str, TensorSpec] = {"user": TensorSpec((), "int64")}
        every = {
            "candidates": TensorSpec((source.width,), "int64"),
            "scores": TensorSpec((source.width,), "float32"),
        }
        self.outputs: Mapping[str, TensorSpec] = {name: every[name] for name in source.gives}

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        import torch

        place = torch.arange(self.source.width)
        if self.source.work_s:
            time.sleep(self.source.work_s)
        user = batch["user"][:, None]
        return {
            "candidates": (user + place * self.source.step) % 50,
            "scores": (1.0 / (1 + place) + user * 0.001).float(),
        }


@dataclass(frozen=True, slots=True)
class Passes(ModelSource):
    """Puts out the list that it takes."""

    kind: ClassVar[str] = "test-passes"

    width: int = 4

    def load(self, device: str, keep: int | None) -> StageModel:
        return _Passes(self)

    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        return {}


class _Passes:
    def __init__(self, source: Passes) -> None:
        self.outputs: Mapping[str, TensorSpec] = {
            "candidates": TensorSpec((source.width,), "int64"),
            "scores": TensorSpec((source.width,), "float32"),
        }
        self.inputs: Mapping[str, TensorSpec] = self.outputs

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return batch


def thirds(
    branches: Mapping[str, Mapping[str, NDArray[Any]]],
    present: Mapping[str, NDArray[np.bool_]],
    scale: float,
) -> Mapping[str, NDArray[Any]]:
    """A merge function: the sum of the branches, scaled, plus how many of them are there."""
    total = sum(of["y"] for of in branches.values())
    there = sum(mask.astype(np.float32) for mask in present.values())
    return {"y": (total * np.float32(scale) + np.asarray(there)[:, None]).astype(np.float32)}


def unfit(
    branches: Mapping[str, Mapping[str, NDArray[Any]]], present: Mapping[str, NDArray[np.bool_]]
) -> Mapping[str, NDArray[Any]]:
    """A merge function that returns one row too few."""
    return {"y": next(iter(branches.values()))["y"][1:]}
