"""From a configuration to the pipeline that the scheduler takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from configs.errors import ConfigError, Problem
from configs.model import Config, StageConfig
from policies.degrade import Level
from policies.pipeline import Device, Pipeline, Stage, topological
from policies.place import Place

Predict = Callable[[int], int]
"""Predicted service time in nanoseconds of a batch of so many requests."""


def pipeline_of(config: Config, predict: Callable[[StageConfig], Predict]) -> Pipeline:
    """The pipeline, its stages in topological order. ``predict`` gives each stage's prediction."""
    parents = config.parents()
    branch = branches(parents)
    stages = []
    for name in topological(parents):
        stage = config.stage(name)
        stages.append(
            Stage(
                name=name,
                policy=stage.policy,
                predict_ns=predict(stage),
                replicas=stage.most_replicas,
                max_batch=stage.max_batch,
                max_items=stage.max_items,
                pad_to=stage.pad_to,
                discipline=stage.discipline,
                queue_bound=stage.queue_bound,
                merge=stage.merge,
                admission=stage.admission,
                device=_shared(config, stage),
                parents=parents[name],
                branch=branch[name],
                hedge=stage.hedge,
                autoscale=stage.autoscale,
                start=stage.replicas if stage.autoscale else None,
                coalesce=stage.coalesce,
                locality=stage.locality,
                levels=tuple(Level(level.cost or 0.0, level.skip) for level in stage.levels),
                degrade=stage.degrade,
                by_request=config.follows_requests(name),
            )
        )
    return Pipeline(
        tuple(stages),
        tuple(Device(name, each.slots) for name, each in config.devices.items() if not each.each),
        expire=config.workload.expire,
        supersede=config.workload.supersede,
        estimate_window_ns=config.estimates.window_ns,
        estimate_weight=config.estimates.weight,
        levels=tuple(
            tuple(level.get(stage.name, 0) for stage in stages) for level in config.levels
        ),
        degrade=config.degrade,
    )


def planned(
    config: Config,
    pipeline: Pipeline,
    *,
    rate_hz: float | None = None,
    cv: Callable[[StageConfig], float] | None = None,
) -> Pipeline:
    """The pipeline with each policy fitted to its place, which takes predictions that mean something.

    ``rate_hz`` is the mean arrival rate where it is known, ``cv`` gives the coefficient of variation of
    a stage's service time. Raises ConfigError where a policy cannot work in its place.
    """
    known_cv = cv or (lambda _: 0.0)

    def cv_of(index: int) -> float:
        return known_cv(config.stage(pipeline.stages[index].name))

    latency_ns = config.objective.latency_ns if config.objective else config.workload.deadline_ns
    stages = []
    for index, stage in enumerate(pipeline.stages):
        place = Place(pipeline, index, latency_ns, rate_hz, cv_of)
        try:
            stages.append(replace(stage, policy=stage.policy.planned(place)))
        except ValueError as error:
            where = f"stages.{stage.name}.policy"
            raise ConfigError([Problem(config.name, where, str(error))]) from None
    return replace(pipeline, stages=tuple(stages))


def _shared(config: Config, stage: StageConfig) -> tuple[str, ...]:
    """The shared device of each replica; none where every replica has one of its own."""
    if any(config.devices[name].each for name in stage.device):
        return ()
    return stage.device * stage.most_replicas if len(stage.device) == 1 else stage.device


def branches(parents: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """For each stage the parallel branch that it lies on, empty on the trunk.

    A stage is on the trunk iff every other stage comes before or after it. Another one continues its
    parent's branch where it is the only child of its only parent, and otherwise begins one of its own
    name.
    """
    order = topological(parents)
    before: dict[str, set[str]] = {}
    for name in order:
        before[name] = set(parents[name]).union(*(before[p] for p in parents[name]))
    after = {name: {other for other in order if name in before[other]} for name in order}
    children = {name: [o for o in order if name in parents[o]] for name in order}
    branch: dict[str, str] = {}
    for name in order:
        if len(before[name]) + len(after[name]) + 1 == len(order):
            branch[name] = ""
            continue
        head = ""
        if len(parents[name]) == 1 and children[parents[name][0]] == [name]:
            head = branch[parents[name][0]]
        branch[name] = head or name
    return branch
