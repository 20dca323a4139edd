"""What must hold between the parts of a configuration, each value being right by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from configs.errors import ConfigError, Problem, nearest
from configs.knob_paths import NoKnobError, OtherKindError
from configs.levels import level_problems
from configs.model import Config, StageConfig
from configs.service_levels import needed_because, service_level_problems
from configs.tuning import below_another, range_of
from configs.widths import comes_in, width_problems
from policies.contract import Policy
from policies.pipeline import CycleError, Discipline, topological
from policies.triton import Triton


@runtime_checkable
class ChecksEnd(Protocol):
    """Arrivals that need to be told when to stop."""

    def check_end(self, requests: int | None, duration_ns: int | None) -> None:
        """Raise ValueError, naming the key, where these bounds leave no end."""
        ...


@runtime_checkable
class HasLargest(Protocol):
    """Sizes of requests that have a bound."""

    def largest(self) -> int:
        """The most items that a request can have."""
        ...


Found = tuple[str, str]
"""A key path and what is wrong there."""


def checked(config: Config, source: str = "") -> Config:
    """``config`` itself. Raises ConfigError with all that does not hold; ``source`` is its file."""
    found = [Problem(source, where, text) for where, text in problems(config)]
    if found:
        raise ConfigError(found)
    return config


def problems(config: Config) -> Iterator[Found]:
    """Everything that does not hold."""
    yield from _names(config)
    yield from _graph(config)
    for stage in config.stages:
        yield from _devices(config, stage)
        yield from _stage(config, stage)
        yield from _hedge(config, stage)
        yield from _autoscale(stage)
        yield from _levels(config, stage)
        yield from width_problems(config, stage)
    yield from service_level_problems(config)
    yield from _workload(config)
    for path, tune in config.tune.items():
        try:
            range_of(config, path, tune)
        except OtherKindError:
            continue  # as after --set stages.a.policy=immediate: only who tunes need care
        except ConfigError as error:
            if isinstance(error, NoKnobError) and below_another(config, path):
                continue  # what is there to be tuned hangs on the choices above it
            yield from ((f"tune.{path}", problem.text) for problem in error.problems)


def _names(config: Config) -> Iterator[Found]:
    if not config.stages:
        yield "stages", "is an empty list; a pipeline needs at least one stage"
    counts = Counter(stage.name for stage in config.stages)
    for name, count in counts.items():
        if count > 1:
            yield f"stages.{name}", f"{count} stages have this name; give each its own"


def _graph(config: Config) -> Iterator[Found]:
    parents = config.parents()
    sound = len(parents) == len(config.stages)
    for stage in config.stages:
        after = stage.after or ()
        for name in after:
            if name not in parents:
                sound = False
                yield (
                    f"stages.{stage.name}.after",
                    f"there is no stage `{name}`; {nearest(name, parents, called='stages')}",
                )
        for name, count in Counter(after).items():
            if count > 1:
                yield f"stages.{stage.name}.after", f"names `{name}` {count} times"
    if sound:
        try:
            topological(parents)
        except CycleError as error:
            yield f"stages.{error.cycle[-1]}.after", str(error)


def _devices(config: Config, stage: StageConfig) -> Iterator[Found]:
    where = f"stages.{stage.name}.device"
    for name in dict.fromkeys(stage.device):
        if name not in config.devices:
            hint = nearest(name, config.devices, called="devices")
            yield where, f"there is no device `{name}`; {hint}"
    if len(stage.device) not in (0, 1, stage.replicas):
        yield (
            where,
            f"names {len(stage.device)} devices for {stage.replicas} replicas;"
            " give one for all or one for each",
        )
    yield from _mixed(config, stage)
    for name in stage.service_on:
        if name not in config.devices:
            hint = nearest(name, config.devices, called="devices")
            yield f"stages.{stage.name}.service_on.{name}", f"there is no device `{name}`; {hint}"
    if stage.service_on and not stage.device:
        yield where, "is not set; a stage with service_on must name the device that it is on"


def _mixed(config: Config, stage: StageConfig) -> Iterator[Found]:
    """Replicas of one stage are served by one model, and share devices or do not."""
    where = f"stages.{stage.name}.device"
    named = list(dict.fromkeys(stage.device))
    models = [name for name in named if name in stage.service_on]
    if len(named) > 1 and models:
        yield (
            where,
            f"names {' and '.join(named)}, and service_on has times of its own for {models[0]};"
            " give all replicas one device",
        )
    types = [name for name in named if name in config.devices and config.devices[name].each]
    if types and len(types) < len(named):
        other = next(name for name in named if name not in types)
        yield (
            where,
            f"names {types[0]}, of which every replica has its own, and {other}, which is shared;"
            " give all replicas one or the other",
        )


def _stage(config: Config, stage: StageConfig) -> Iterator[Found]:
    where = f"stages.{stage.name}"
    workload = config.workload
    policy: Policy = stage.policy
    try:
        policy.check(stage.max_batch)
    except ValueError as error:
        yield f"{where}.policy", str(error)
    if stage.discipline is Discipline.EDF and workload.deadline_ns is None:
        yield f"{where}.discipline", "edf needs workload.deadline, which is not set"
    if stage.discipline is Discipline.PRIORITY and not workload.priorities:
        yield f"{where}.discipline", "priority needs workload.priorities, which is not set"
    if isinstance(policy, Triton):
        named, there = len(policy.priority_queue_policy), len(workload.priorities)
        if named > there > 0:
            yield (
                f"{where}.policy.priority_queue_policy",
                f"names queues of {named} levels, and workload.priorities has {there}",
            )
    for key, needs in (("coalesce", stage.coalesce), ("locality", stage.locality)):
        if needs is not None and workload.keys is None:
            yield (
                f"{where}.{key}",
                "needs workload.keys, which is not set: requests are told apart by their keys",
            )
    if list(stage.pad_to) != sorted(set(stage.pad_to)):
        yield f"{where}.pad_to", f"must be ascending sizes, each once, not {list(stage.pad_to)}"
    elif stage.pad_to and stage.pad_to[-1] < stage.max_batch:
        yield (
            f"{where}.pad_to",
            f"must end in at least max_batch ({stage.max_batch}), not in {stage.pad_to[-1]}: a larger"
            " batch would fit no size",
        )
    if stage.merge is not None:
        try:
            stage.merge.check(config.parents()[stage.name])
        except ValueError as error:
            yield f"{where}.merge", str(error)
    largest = _largest(workload.items)
    if stage.max_items is not None and largest is not None and stage.max_items < largest:
        yield (
            f"{where}.max_items",
            f"must be at least {largest}, the items of one request (workload.items),"
            f" not {stage.max_items}",
        )


def _autoscale(stage: StageConfig) -> Iterator[Found]:
    """It begins within its bounds, and every replica that may come has a place."""
    rule = stage.autoscale
    if rule is None:
        return
    if not rule.min <= stage.replicas <= rule.max:
        yield (
            f"stages.{stage.name}.replicas",
            f"must be {rule.min} to {rule.max}, as autoscale has it, not {stage.replicas}; it is how many"
            " there are at the start",
        )
    if len(stage.device) > 1:
        yield (
            f"stages.{stage.name}.device",
            f"names {len(stage.device)} devices, and autoscale brings replicas that are not listed;"
            " give one device for all",
        )


def _levels(config: Config, stage: StageConfig) -> Iterator[Found]:
    """Levels and what chooses among them, and candidates that are enough and there."""
    known = comes_in(config, stage.name)
    where = f"stages.{stage.name}"
    skips = any(level.skip for level in stage.levels)
    because = needed_because(config, stage) if skips else None
    by_request = config.follows_requests(stage.name)
    yield from level_problems(
        where, stage.levels, stage.degrade, by_request, stage.keep, known, because
    )


def _hedge(config: Config, stage: StageConfig) -> Iterator[Found]:
    """A second copy needs a second replica, and a slot for it."""
    if stage.hedge is None:
        return
    where = f"stages.{stage.name}.hedge"
    if stage.most_replicas == 1:
        yield (
            where,
            "can never send a batch again: the stage has 1 replica; give it 2 or more, or leave hedge"
            " out",
        )
        return
    devices = [config.devices[name] for name in set(stage.device) if name in config.devices]
    if devices and not any(device.each for device in devices):
        slots = sum(device.slots for device in devices)
        if slots == 1:
            yield (
                where,
                f"can never send a batch again: the replicas share 1 slot of device {stage.device[0]};"
                " give it 2 or more, or leave hedge out",
            )


def _largest(items: object) -> int | None:
    """Items of the largest request; None where nothing bounds them or a trace holds them."""
    return items.largest() if isinstance(items, HasLargest) else None


def _workload(config: Config) -> Iterator[Found]:
    workload = config.workload
    if workload.expire and workload.deadline_ns is None:
        yield "workload.expire", "needs workload.deadline, which is not set"
    if workload.supersede and workload.keys is None:
        yield (
            "workload.supersede",
            "needs workload.keys, which is not set: requests are told apart by their keys",
        )
    if isinstance(workload.arrivals, ChecksEnd):
        try:
            workload.arrivals.check_end(workload.requests, workload.duration_ns)
        except ValueError as error:
            yield "workload", str(error)
