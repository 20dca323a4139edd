"""What a plan has set, in a few words."""

from __future__ import annotations

from collections.abc import Iterator

from configs.model import Config, StageConfig
from configs.units import format_duration
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.load_adaptive import LoadAdaptive
from sim.service.base import ServiceModel
from sim.service.of_stage import model_of_stage


def setting_of(given: Config, made: Config) -> str:
    """What a plan's configuration says of holds, caps, merges and stages, where that is worth a word."""
    return ", ".join(_told(given, made))


def _told(given: Config, made: Config) -> Iterator[str]:
    stages = [stage for stage in made.stages if works(made, stage)]
    kinds = list(dict.fromkeys(stage.policy.kind for stage in made.stages))
    holds = [_hold(stage) for stage in stages]
    if set(kinds) <= {Immediate.kind, Fixed.kind}:
        yield f"hold {_joined(holds)}" if any(hold != "0" for hold in holds) else "no hold"
    elif kinds == [LoadAdaptive.kind]:
        policy = made.stages[0].policy
        most_ns = policy.max_ns if isinstance(policy, LoadAdaptive) else 0
        yield f"hold up to {format_duration(most_ns)}"
    else:
        yield "/".join(kinds)
    names = {stage.name: stage.max_batch for stage in given.stages}
    if any(names.get(stage.name, stage.max_batch) != stage.max_batch for stage in stages):
        yield f"cap {_joined([str(stage.max_batch) for stage in stages])}"
    due = {stage.merge.deadline_ns for stage in made.stages if stage.merge is not None} - {None}
    for deadline_ns in due:
        yield f"merge at {format_duration(deadline_ns or 0)}"
    if [stage.name for stage in made.stages] != [stage.name for stage in given.stages]:
        yield f"{len(made.stages)} stages for {len(given.stages)}"


def works(config: Config, stage: StageConfig) -> bool:
    """Whether a stage does anything: one that only joins takes no time."""
    model: ServiceModel = model_of_stage(config, stage)
    return model.expected_ns(1, 1) > 0


def _hold(stage: StageConfig) -> str:
    policy = stage.policy
    if isinstance(policy, Fixed) and policy.delay_ns:
        return format_duration(round(policy.delay_ns, -4) or policy.delay_ns)
    return "0"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(set(parts)) == 1 else "/".join(parts)
