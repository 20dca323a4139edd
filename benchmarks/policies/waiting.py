"""A model that waits as the host of an accelerator does: its time is known, and it leaves the cores free."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from executors.stage_model import TensorSpec

SPEC = {"x": TensorSpec((4,), "float32")}


class Waiting:
    """Takes ``base_s`` and ``each_s`` more for each request of the batch."""

    inputs: Mapping[str, TensorSpec] = SPEC
    outputs: Mapping[str, TensorSpec] = SPEC

    def __init__(self, base_s: float, each_s: float) -> None:
        self.base_s, self.each_s = base_s, each_s

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """One more than each input, after a while."""
        time.sleep(self.base_s + self.each_s * len(batch["x"]))
        return {"x": batch["x"] + 1}


def waiting(device: str, keep: int | None, base_s: float, each_s: float) -> Waiting:  # noqa: ARG001
    """For ``model: {kind: factory}``."""
    return Waiting(base_s, each_s)
