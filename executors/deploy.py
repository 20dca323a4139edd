"""From a configuration to an executor: its models, and where each of them runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from configs.model import Config
from executors.executor import Executor
from executors.levels import Cheaper
from executors.placement import DevicePlacement, Placement
from executors.session import ExecutorError
from executors.stage_model import ModelSource
from policies.pipeline import Pipeline


class MissingModelError(ExecutorError, ValueError):
    """A stage is to run for real, and its configuration names no model."""


def placement_of(config: Config) -> Placement:
    """The cores and GPUs that the configuration names."""
    return Placement(
        config.dispatcher.cores or (),
        {
            name: DevicePlacement(device.cores or (), device.cuda)
            for name, device in config.devices.items()
            if not device.each
        },
    )


def executor_of(
    config: Config,
    pipeline: Pipeline,
    *,
    respawn: bool = True,
    probes: Mapping[str, int] = MappingProxyType({}),
) -> Executor:
    """An executor for ``pipeline``, which was made of ``config``; to be entered by the caller.

    ``probes`` are stages that get one more level, behind their own, which takes so many candidates: for
    ``executors.widths``.

    Raises MissingModelError for a stage without a model, PlacementError for cores that are not there.
    """
    sources: dict[str, ModelSource] = {}
    for stage in config.stages:
        if stage.model is None:
            raise MissingModelError(
                f"stages.{stage.name}.model is missing: a real run needs to know what to execute; "
                "simulate needs no model"
            )
        sources[stage.name] = stage.model
    return Executor(
        pipeline,
        sources,
        keep={stage.name: stage.keep for stage in config.stages},
        levels={
            stage.name: [
                *(Cheaper(each.model, each.take) for each in stage.levels if not each.skip),
                *(
                    Cheaper(take=take, probe=True)
                    for name, take in probes.items()
                    if name == stage.name
                ),
            ]
            for stage in config.stages
        },
        placement=placement_of(config),
        respawn=respawn,
        seed=config.seed,
    )
