"""The loop that all stages share: epochs, validation, early stop, the best weights kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """How far training has come; one is reported after every batch and every validation."""

    stage: str
    stages_done: int
    stages: int
    epoch: int
    """From 1."""
    epochs: int
    """At most so many; an early stop ends a stage sooner."""
    fraction: float
    """Of this stage's epochs, 0 to 1."""
    validation_ndcg: float
    """The latest; before the first epoch that of the untrained stage."""


class Progress(Protocol):
    """Whoever wants to show how training goes."""

    def __call__(self, step: TrainingStep) -> None:
        """Called in the training thread; an exception stops training."""
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a stage learns."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    patience: int
    """Epochs without a better validation NDCG after which the stage stops."""


@dataclass(frozen=True, slots=True)
class StagePlace:
    """Which stage of how many, for progress."""

    name: str
    number: int
    count: int


def fit(
    model: nn.Module,
    examples: int,
    loss_of: Callable[[Tensor], Tensor],
    validate: Callable[[], float],
    schedule: Schedule,
    generator: torch.Generator,
    place: StagePlace,
    progress: Progress | None,
) -> float:
    """Train ``model`` in place, leave it in ``eval()`` with its best weights, return their NDCG.

    The untrained weights are among those judged: a stage that learns nothing of use stays as it began.

    ``loss_of`` gets the numbers (batch,) of the examples drawn; ``validate`` finds the model in
    ``eval()``. Without examples nothing is learned.
    """
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    model.eval()
    latest = validate()
    best, best_ndcg, waited = copy.deepcopy(model.state_dict()), latest, 0
    batches = max(1, -(-examples // schedule.batch))

    def report(epoch: int, done: int) -> None:
        if progress is not None:
            fraction = (epoch + done / batches) / schedule.epochs
            progress(
                TrainingStep(
                    place.name,
                    place.number,
                    place.count,
                    epoch + 1,
                    schedule.epochs,
                    fraction,
                    latest,
                )
            )

    for epoch in range(schedule.epochs if examples else 0):
        model.train()
        order = torch.randperm(examples, generator=generator)
        for done, rows in enumerate(torch.split(order, schedule.batch), 1):
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss_of(rows))
            optimiser.step()
            report(epoch, done)
        model.eval()
        latest = validate()
        report(epoch, batches)
        if latest > best_ndcg:
            best, best_ndcg, waited = copy.deepcopy(model.state_dict()), latest, 0
        else:
            waited += 1
            if waited >= schedule.patience:
                break
    model.train()
    model.load_state_dict(best)
    model.eval()
    return best_ndcg
