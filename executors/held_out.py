"""Models whose data hold something out of each user, by which the lists that they make can be judged."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from configs.model import Config, StageConfig
from executors.slab import Columns
from executors.stage_model import ModelSource
from policies.degrade import FULL

USER = "user"
"""What a client sends to say whom a request is about: a number of the user, an int64 a request."""
LIST = "candidates"
"""What the last stage answers: item numbers, best first, int64 of shape (list,) a request."""


class HeldOutError(ValueError):
    """Lists that cannot be judged; the text names the stage and says why."""


@runtime_checkable
class HoldsOut(Protocol):
    """A model source that can serve users as they were before the last that is known of them."""

    def as_before(self) -> ModelSource:
        """The same model, which does not know what is held out."""
        ...

    def held_out_items(self) -> NDArray[np.int64]:
        """(users,): the item that is held out of each user."""
        ...

    def digest(self) -> str:
        """Of the weights and of what is known of the users: equal only where lists are."""
        ...

    def is_here(self) -> bool:
        """Whether the weights are on this machine."""
        ...

    def most_candidates(self) -> int:
        """The most that a list of it may hold, for every user."""
        ...


def as_before(stage: StageConfig, level: int = FULL) -> ModelSource:
    """The model that serves a stage at a level, which knows nothing of what is held out. Raises
    HeldOutError where there is none.
    """
    model = stage.model if level == FULL else stage.levels[level - 1].model or stage.model
    if model is None:
        raise HeldOutError(
            f"stage {stage.name} has no model; quality is measured on what models answer"
        )
    if not isinstance(model, HoldsOut):
        raise HeldOutError(
            f"stage {stage.name}: a model of kind {model.kind} holds no interaction out to judge by; use"
            " one that does, such as kind recommender"
        )
    return model.as_before()


def without_held_out(config: Config) -> Config:
    """The configuration with models that know nothing of what is held out, so that a run can be judged."""
    stages = []
    for stage in config.stages:
        levels = tuple(
            replace(level, model=as_before(stage, number)) if level.model is not None else level
            for number, level in enumerate(stage.levels, start=1)
        )
        stages.append(replace(stage, model=as_before(stage), levels=levels))
    return replace(config, stages=tuple(stages))


def judged_columns(sent: Columns, answers: Columns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users (requests,) and lists (requests, k) of a run's requests. Raises HeldOutError."""
    for name, columns, what in ((USER, sent, "are sent"), (LIST, answers, "come back")):
        if name not in columns:
            raise HeldOutError(
                f"there is no {name!r} among the tensors that {what} ({', '.join(columns)}), so that"
                " quality cannot be measured; leave quality out of the configuration"
            )
    users = np.asarray(sent[USER], np.int64)
    return users, np.asarray(answers[LIST], np.int64)[: len(users)]


def digest_of(config: Config) -> str:
    """Of the weights of all stages, those of their levels included."""
    found = hashlib.sha256()
    for stage in config.stages:
        for level in range(len(stage.levels) + 1):
            model = as_before(stage, level)
            if isinstance(model, HoldsOut):
                found.update(model.digest().encode())
    return found.hexdigest()


def held_out_of(config: Config) -> HoldsOut:
    """The model that says what is held out: that of the first stage. Raises HeldOutError."""
    model = as_before(config.stages[0])
    if not isinstance(model, HoldsOut):
        raise TypeError(f"{model} lost what it held out")
    return model
