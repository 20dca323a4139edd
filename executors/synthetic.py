"""A synthetic dense model of any size, for pipelines without a model. Needs no torch to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from executors.stage_model import ModelSource, StageModel, TensorSpec
from policies.knobs import knob

if TYPE_CHECKING:
    from torch import Tensor, nn

    from executors.exact import Grid


@dataclass(frozen=True, slots=True)
class MlpSource(ModelSource):
    """Dense layers with ReLU between: ``features`` in, ``features`` of the same width out.

    Output and input have one name and shape, so that stages of this kind follow each other. The sums
    are exact (see ``executors.exact``): a batch equals its requests bit for bit.
    """

    kind: ClassVar[str] = "mlp"

    width: int = knob("width of the hidden layers", default=256, ge=1, le=8192)
    depth: int = knob("hidden layers", default=2, ge=1, le=64)
    features: int = knob("numbers a request brings, and gets back", default=64, ge=1, le=8192)
    seed: int = knob("draws the weights", default=0, ge=0)

    def load(self, device: str, keep: int | None) -> StageModel:  # noqa: ARG002  (no candidates)
        """Draw the weights, the same ones in every process."""
        import torch

        from executors.exact import ACTIVATION, ExactLinear

        widths = [self.features, *[self.width] * self.depth, self.features]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            layers = [ExactLinear(ins, outs, ACTIVATION) for ins, outs in pairwise(widths)]
        for layer in layers:
            layer.requires_grad_(False).to(device).eval()
        return _Mlp(layers, self.features, ACTIVATION)

    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        """``features`` (count, features) of standard normal numbers."""
        return {"features": rng.standard_normal((count, self.features), dtype=np.float32)}


class _Mlp:
    def __init__(self, layers: Sequence[nn.Module], features: int, grid: Grid) -> None:
        self.layers, self.grid = layers, grid
        self.inputs: Mapping[str, TensorSpec] = {"features": TensorSpec((features,), "float32")}
        self.outputs: Mapping[str, TensorSpec] = self.inputs

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        from executors.exact import snap, snap_positive

        values = snap(batch["features"], self.grid)
        for layer in self.layers[:-1]:
            values = snap_positive(layer(values), self.grid)
        return {"features": snap(self.layers[-1](values), self.grid)}
