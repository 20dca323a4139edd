"""The recommender's stages as a model source. Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from executors.recommender.folder import METADATA, read_metadata, weights_digest
from executors.recommender.keep import BRANCHES, STAGES, StageName, default_keep
from executors.stage_model import ModelSource, StageModel
from policies.knobs import knob


@dataclass(frozen=True, slots=True)
class RecommenderSource(ModelSource):
    """One stage of a trained recommender."""

    kind: ClassVar[str] = "recommender"

    path: Path = knob("weights folder, as `delayline train` writes it")
    stage: StageName = knob(
        "which of its stages: recall, sequence or covisits, prerank, rank, rerank"
    )
    held_out: bool = knob(
        "serve users as they were before their last interaction, by which lists are then judged",
        default=False,
    )

    def load(self, device: str, keep: int | None) -> StageModel:
        """Load the stage; ``keep`` of None is 200 for a way of recall, 100, 50 and 10 for the stages after.

        Raises WeightsError for a folder that is not whole, ValueError for a ``keep`` that the data
        does not allow.
        """
        from executors.recommender.stages import Users, build_stage
        from executors.recommender.weights import load

        found = load(self.path)
        users = found.users_before if self.held_out else found.users
        cascade = found.cascade
        cascade = cascade.to(device)
        kept = default_keep(self.stage, users.unseen(cascade.sizes.items)) if keep is None else keep
        return build_stage(cascade, Users(users, device), self.stage, kept)

    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        """Users drawn evenly; for a later stage served alone also candidates, as many as it gets by default.

        Candidates (count, n) are distinct within a request, scores fall from 0.
        """
        metadata = read_metadata(self.path)
        users = rng.integers(0, metadata.users, count, dtype=np.int64)
        if self.stage in BRANCHES:
            return {"user": users}
        place = STAGES.index(self.stage)
        items = metadata.sizes.items
        length = default_keep(STAGES[place - 1], items)
        first = rng.integers(0, items, (count, 1), dtype=np.int64)
        candidates = (first + np.arange(length) * (items // length)) % items
        scores = np.broadcast_to(-np.arange(length, dtype=np.float32) / 128.0, (count, length))
        inputs = {"candidates": candidates, "scores": np.ascontiguousarray(scores)}
        return inputs if self.stage == "rerank" else {"user": users, **inputs}

    def as_before(self) -> Self:
        """Users as they were before their last interaction."""
        return replace(self, held_out=True)

    def held_out_items(self) -> NDArray[np.int64]:
        """(users,): each user's last interaction."""
        from executors.recommender.weights import load

        return load(self.path).held_out

    def is_here(self) -> bool:
        """Whether there is a weights folder."""
        return (self.path / METADATA).is_file()

    def digest(self) -> str:
        """Of the weights and the users."""
        return weights_digest(self.path)

    def most_candidates(self) -> int:
        """The items that every user has left."""
        from executors.recommender.weights import load

        found = load(self.path)
        return found.users_before.unseen(found.cascade.sizes.items)
