"""What the levels of a stage cost that take fewer candidates and do not say it themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from configs.errors import ConfigError, Problem
from configs.levels import LevelConfig
from configs.model import Config, StageConfig
from configs.widths import comes_in
from sim.service.of_stage import model_at_width, unpadded


def with_level_costs(config: Config) -> Config:
    """The configuration with a cost at every level that is served.

    Where none is given it is what a full batch takes that is shown so many candidates, over what it takes
    with all that come in: levels are for stages that are behind, whose batches are full. Raises ConfigError
    where the stage's service does not say what candidates take.
    """
    stages = tuple(_costed(config, stage) for stage in config.stages)
    return config if stages == config.stages else replace(config, stages=stages)


def _costed(config: Config, stage: StageConfig) -> StageConfig:
    if all(level.cost is not None or level.skip for level in stage.levels):
        return stage
    return replace(stage, levels=tuple(_levels(config, stage)))


def _levels(config: Config, stage: StageConfig) -> Iterator[LevelConfig]:
    before, cost = "in full", 1.0
    for number, level in enumerate(stage.levels):
        here = f"stages.{stage.name}.levels[{number}]"
        if level.cost is None and not level.skip:
            level = replace(level, cost=_cost(config, stage, level.take or 0, f"{here}.cost"))
        if level.cost is not None and level.cost > cost:
            text = (
                f"comes to {level.cost:.3g} by the stage's service, more than {before} ({cost:.3g}); order"
                " the levels from the dearest to the cheapest"
            )
            raise ConfigError([Problem("", f"{here}.cost", text)])
        before, cost = "at the level before", level.cost or cost
        yield level


def _cost(config: Config, stage: StageConfig, take: int, where: str) -> float:
    named, full = stage.service_here().for_stage(stage.name), stage.max_batch
    if comes_in(config, stage.name) is None or not named.follows_candidates:
        text = (
            "is not given, and the stage's service does not say what a candidate takes; give it, or give"
            " the service a `per_candidate`, or profile it"
        )
        raise ConfigError([Problem("", where, text)])
    all_ns = unpadded(config, stage).expected_ns(full, full)
    some_ns = model_at_width(config, replace(stage, pad_to=()), take).expected_ns(full, full)
    return some_ns / all_ns if all_ns else 1.0
