"""Cheaper ways to serve a stage's batches, as its workers run them. Needs no torch to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from executors.stage_model import ModelSource, StageModel, TensorSpec
from policies.pipeline import Stage

if TYPE_CHECKING:
    import torch


class LevelError(ValueError):
    """A level's model does not fit its stage; says which level, and why."""


@dataclass(frozen=True, slots=True)
class Cheaper:
    """One level: another model, fewer of the candidates that come in, or both."""

    source: ModelSource | None = None
    """None is the stage's own model."""
    take: int | None = None
    """The first so many of each list of candidates; None is all."""
    probe: bool = False
    """For measuring what candidates take: a model that is given no lists is run as it is."""


def served_levels(stage: Stage) -> int:
    """How many cheaper levels of a stage its workers serve: all but that at which it is skipped."""
    return sum(not level.skip for level in stage.levels)


def models_at(
    own: StageModel, levels: Sequence[Cheaper], device: str, keep: int | None
) -> list[StageModel]:
    """A stage's models by level, ``own`` at level 0. Raises LevelError, and what loading a model raises."""
    models = [own]
    for number, level in enumerate(levels, 1):
        model = own if level.source is None else level.source.load(device, keep)
        _check(number, model, own)
        if level.take is not None and (lists_of(model) or not level.probe):
            model = Narrowed(number, model, level.take)
        models.append(model)
    return models


def _check(number: int, model: StageModel, own: StageModel) -> None:
    """It takes nothing else, and puts out the same."""
    more = sorted(set(model.inputs) - set(own.inputs))
    if more:
        raise LevelError(
            f"the model of level {number} takes {more[0]!r}, which the stage's own does not take"
        )
    for name, spec in own.outputs.items():
        if model.outputs.get(name) != spec:
            raise LevelError(
                f"the model of level {number} puts out {name!r} as {model.outputs.get(name)}, and the"
                f" stage's own as {spec}; they must be the same"
            )


def lists_of(model: StageModel) -> list[str]:
    """The inputs whose rows are as long as whatever comes in."""
    return [name for name, spec in model.inputs.items() if spec.shape[:1] == (-1,)]


class Narrowed:
    """A model that is shown the first ``take`` of each list: inputs whose rows are as long as whatever
    comes in.
    """

    def __init__(self, number: int, model: StageModel, take: int) -> None:
        self._model, self._take = model, take
        self._lists = lists_of(model)
        self.inputs: Mapping[str, TensorSpec] = model.inputs
        self.outputs: Mapping[str, TensorSpec] = model.outputs
        if not self._lists:
            raise LevelError(
                f"level {number} takes {take} candidates, and no input of its model is a list of any length"
                " (a first dimension of -1); leave take out, or give the level a model"
            )

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Run the model on a batch."""
        cut = {name: batch[name][:, : self._take] for name in self._lists}
        return self._model({**batch, **cut})
