"""The answer that every executor owes: the four stages, one request at a time, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from executors.recommender.keep import STAGES, StageName
from executors.recommender.source import RecommenderSource
from executors.stage_model import StageModel


def reference_stages(
    path: Path, keep: Mapping[StageName, int] | None = None, device: str = "cpu"
) -> tuple[StageModel, ...]:
    """The stages of a weights folder in order; ``keep`` overrides what each passes on."""
    chosen = keep or {}
    return tuple(RecommenderSource(path, stage).load(device, chosen.get(stage)) for stage in STAGES)


def recommend_one(stages: Sequence[StageModel], user: int, device: str = "cpu") -> list[int]:
    """The final list of item numbers for one user, best first."""
    with torch.inference_mode():
        batch = {"user": torch.tensor([user], dtype=torch.int64, device=device)}
        for stage in stages:
            batch |= stage(batch)
        found: list[int] = batch["candidates"][0].tolist()
    return found
