"""The service model that a stage of a configuration runs on a device."""

from __future__ import annotations

from configs.model import Config, StageConfig
from configs.widths import comes_in
from sim.service.base import ServiceModel
from sim.service.padded import Padded
from sim.service.widened import widened


def model_of_stage(config: Config, stage: StageConfig, device: str | None = None) -> ServiceModel:
    """The stage's model on a device (None: the one that it names), with the candidates that come in, and
    padded as the stage says.
    """
    return _padded(stage, unpadded(config, stage, device))


def unpadded(config: Config, stage: StageConfig, device: str | None = None) -> ServiceModel:
    """The same for every size that there is."""
    model, candidates = _named(stage, device), comes_in(config, stage.name)
    return model if candidates is None else model.with_candidates(candidates)


def model_at_width(config: Config, stage: StageConfig, candidates: int) -> ServiceModel:
    """The stage's model if so many candidates came in with each request.

    By the model's own law where it has one. Where it has none, work is taken to be in proportion: a batch
    takes the time of as many more requests as each brings more candidates, see :func:`widened`.
    """
    model = _named(stage, None)
    if model.follows_candidates:
        return _padded(stage, model.with_candidates(candidates))
    known, padded = comes_in(config, stage.name), _padded(stage, model)
    return padded if known in (None, candidates) else widened(padded, candidates / known)


def _named(stage: StageConfig, device: str | None) -> ServiceModel:
    named = stage.service_here() if device is None else stage.service_on.get(device, stage.service)
    model: ServiceModel = named.for_stage(stage.name)
    return model


def _padded(stage: StageConfig, model: ServiceModel) -> ServiceModel:
    return Padded(model, stage.pad_to) if stage.pad_to else model
