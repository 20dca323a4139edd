"""The service model that a stage of a configuration runs on a device."""

from __future__ import annotations

from configs.model import StageConfig
from sim.service.base import ServiceModel
from sim.service.padded import Padded


def model_of_stage(stage: StageConfig, device: str | None = None) -> ServiceModel:
    """The stage's model on a device (None: the one that it names), padded as the stage says."""
    named = stage.service_here() if device is None else stage.service_on.get(device, stage.service)
    model: ServiceModel = named.for_stage(stage.name)
    return Padded(model, stage.pad_to) if stage.pad_to else model
