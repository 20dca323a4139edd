"""A partition as a pipeline: its configuration, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from configs.yaml_text import Line, dump_yaml
from delayline.errors import CommandError
from policies.partition.replicas import share_devices, spread

if TYPE_CHECKING:
    from executors.partition.partition import Partition, PartitionPlan

_NS_PER_MS = 1e6
_SHARE_OF_CAPACITY = 0.5
_MOST_HZ = 1000.0
_OBJECTIVE = 5
"""The objective that is written, in times of a full batch through all parts."""
_HEAD = """\
# {model} in {stages} stages, by `delayline partition`. The rate is half of what the stages can take, at
# most 1,000/s, and the objective five times a full batch's way: put in what is yours.
#
#   delayline simulate {file}
#   delayline profile {file} --out profile.json    # how long batches take at work
#   delayline run {file}
"""


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A device as ``--device`` names it: ``cpu``, ``cpu:0,1`` or ``cuda:0``."""

    name: str
    torch_device: str
    settings: Mapping[str, Any]

    @property
    def threads(self) -> int:
        """Threads of torch that a worker on it gets."""
        return len(self.settings.get("cores", ())) or 1


def parse_device(text: str) -> DeviceSpec:
    """Raises CommandError for what is no device."""
    kind, colon, numbers = text.partition(":")
    try:
        found = [int(each) for each in numbers.split(",")] if colon else []
    except ValueError:
        found = [-1]
    valid = kind in ("cpu", "cuda") and min(found, default=0) >= 0 and len(set(found)) == len(found)
    if not valid or (kind == "cuda" and len(found) != 1):
        raise CommandError(f"--device {text} must read cpu, cpu:CORE,... or cuda:NUMBER")
    name = "_".join([kind, *map(str, found)])
    if kind == "cuda":
        return DeviceSpec(name, text, {"slots": 1, "cuda": found[0]})
    return DeviceSpec(name, "cpu", {"slots": 1, "cores": found} if found else {"slots": 1})


@dataclass(frozen=True, slots=True)
class Deployment:
    """Replicas and devices of each part."""

    replicas: tuple[int, ...]
    devices: tuple[tuple[str, ...], ...]
    """By part, the device of each replica."""
    settings: Mapping[str, Mapping[str, Any]]
    """By name of a device."""


def deploy(
    partition: Partition, given: Sequence[DeviceSpec], workers: int | None, cores: int
) -> Deployment:
    """Replicas by the parts' loads, and a device for each: those given, or the cores that dispatching
    leaves as the slots of one. Raises CommandError for fewer workers than parts.
    """
    loads = partition.cut.costs.loads_ns
    try:
        replicas = spread(loads, len(loads) if workers is None else workers)
    except ValueError as error:
        raise CommandError(f"--workers: {error}") from error
    if not given:
        slots = min(sum(replicas), max(1, cores - 1))
        on = tuple(("cpu",) * count for count in replicas)
        return Deployment(replicas, on, {"cpu": {"slots": slots}})
    each = [load / count for load, count in zip(loads, replicas, strict=True) for _ in range(count)]
    names = [given[device].name for device in share_devices(each, len(given))]
    ends = [sum(replicas[: part + 1]) for part in range(len(replicas))]
    on = tuple(tuple(names[end - count : end]) for end, count in zip(ends, replicas, strict=True))
    used = {name for row in on for name in row}
    return Deployment(replicas, on, {d.name: d.settings for d in given if d.name in used})


def pipeline_yaml(
    name: str, file: str, partition: Partition, plan: PartitionPlan, deployment: Deployment
) -> str:
    """The configuration, for a file that lies beside the parts."""
    stages = [_stage(partition, plan, deployment, number) for number in range(len(partition.parts))]
    document = {
        "name": name,
        "seed": 1,
        "workload": {
            "arrivals": Line(kind="poisson", rate=f"{_rate_hz(partition, plan, deployment):g}/s"),
            "duration": "5s",
        },
        "objective": Line(
            latency=f"{max(1, ceil(_OBJECTIVE * partition.cut.costs.latency_ns / _NS_PER_MS))}ms",
            percentile=99,
        ),
        "devices": {key: Line(settings) for key, settings in deployment.settings.items()},
        "stages": stages,
        "provenance": {"partition": summary(partition, plan)},
    }
    head = _HEAD.format(model=partition.analysis.captured.name, stages=len(stages), file=file)
    return head + dump_yaml(document)


def _stage(
    partition: Partition, plan: PartitionPlan, deployment: Deployment, number: int
) -> dict[str, Any]:
    part = partition.parts[number]
    points = {
        size: f"{(time_ns + plan.hop_ns) / 1e3:.1f}us"
        for size, time_ns in partition.service_ns[number].items()
    }
    on = deployment.devices[number]
    return {
        "name": part.name,
        "after": list(part.after),
        "replicas": deployment.replicas[number],
        "max_batch": plan.batch,
        "device": on[0] if len(set(on)) == 1 else list(on),
        "model": Line(kind="exported", path=f"{part.name}.pt2"),
        "service": Line(kind="table", points=Line(points)),
    }


def _rate_hz(partition: Partition, plan: PartitionPlan, deployment: Deployment) -> float:
    """Half of the rate that keeps the busiest device busy with full batches, to two digits."""
    busy: dict[str, float] = {}
    for number, on in enumerate(deployment.devices):
        load_ns = (partition.service_ns[number][plan.batch] + plan.hop_ns) / len(on)
        for device in on:
            busy[device] = busy.get(device, 0.0) + load_ns / deployment.settings[device]["slots"]
    rate_hz = _SHARE_OF_CAPACITY * plan.batch * 1e9 / max(busy.values())
    return float(f"{min(rate_hz, _MOST_HZ):.2g}")


def summary(partition: Partition, plan: PartitionPlan) -> dict[str, Any]:
    """What was asked and what came of it, as plain values."""
    cut = partition.cut
    return {
        "model": partition.analysis.captured.name,
        "strategy": str(plan.strategy),
        "goal": str(plan.goal),
        "cost": str(plan.cost),
        "batch": plan.batch,
        "method": cut.method,
        "exact": cut.exact,
        "gap": round(cut.gap, 4),
        "bit_equal": partition.equality.exact,
        "largest_difference": partition.equality.largest,
    }
