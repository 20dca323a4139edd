"""Which cores or which GPU each replica gets, and which cores are kept for dispatching."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policies.pipeline import Pipeline


class PlacementError(ValueError):
    """A placement that this machine or this pipeline cannot have; names the device and the knob."""


@dataclass(frozen=True, slots=True)
class DevicePlacement:
    """What a device of the configuration is on this machine: cores, or a GPU."""

    cores: tuple[int, ...] = ()
    """Core numbers; empty for a default."""
    cuda: int | None = None
    """Index of the GPU; ``cores`` are then those of the process that drives it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The choices of a configuration; whatever is left open gets a default."""

    dispatcher_cores: tuple[int, ...] = ()
    devices: Mapping[str, DevicePlacement] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one replica runs: its process is pinned to ``cores`` and uses ``threads`` of torch."""

    cores: tuple[int, ...]
    threads: int
    cuda: int | None = None

    @property
    def torch_device(self) -> str:
        """The device by torch's name."""
        return "cpu" if self.cuda is None else f"cuda:{self.cuda}"


@dataclass(frozen=True, slots=True)
class Places:
    """A placement with nothing left open; ``replicas[stage][replica]``."""

    dispatcher_cores: tuple[int, ...]
    replicas: tuple[tuple[Place, ...], ...]


def available_cores() -> tuple[int, ...]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def place(
    pipeline: Pipeline, placement: Placement, available: Sequence[int] | None = None
) -> Places:
    """Give every replica its place.

    By default the dispatcher has the first core that no device names, and the others are divided among
    the slots of devices without cores and the replicas without a device; where there is one core only,
    all share it. A replica may use all cores of its device, and as many threads as one slot's part of
    them. Raises PlacementError.
    """
    cores = tuple(available_cores() if available is None else available)
    known = {device.name for device in pipeline.devices}
    _check_cores("dispatcher.cores", placement.dispatcher_cores, cores)
    for name, given in placement.devices.items():
        if name not in known:
            raise PlacementError(
                f"devices.{name}: no such device in the pipeline; it has: {', '.join(known) or 'none'}"
            )
        _check_cores(f"devices.{name}.cores", given.cores, cores)
        if given.cuda is not None and given.cuda < 0:
            raise PlacementError(f"devices.{name}.cuda must be 0 or more, not {given.cuda}")
    taken = {core for given in placement.devices.values() for core in given.cores}
    free = [core for core in cores if core not in taken] or list(cores)
    dispatcher = placement.dispatcher_cores or (free[0],)
    rest = [core for core in cores if core not in dispatcher] or list(cores)
    rest = [core for core in rest if core not in taken] or rest
    asked = {
        device.name: placement.devices.get(device.name, DevicePlacement())
        for device in pipeline.devices
    }
    open_slots = sum(device.slots for device in pipeline.devices if not asked[device.name].cores)
    loose = sum(stage.replicas for stage in pipeline.stages if not stage.device)
    parts = _divide(rest, open_slots + loose)
    named = {}
    for device in pipeline.devices:
        own = asked[device.name].cores
        if not own:
            own = tuple(sorted({core for _ in range(device.slots) for core in parts.pop(0)}))
        threads = max(1, len(own) // device.slots)
        named[device.name] = Place(own, threads, asked[device.name].cuda)
    replicas = []
    for stage in pipeline.stages:
        if stage.device:
            replicas.append(tuple(named[device] for device in stage.device))
        else:
            mine = [parts.pop(0) for _ in range(stage.replicas)]
            replicas.append(tuple(Place(part, len(part)) for part in mine))
    return Places(dispatcher, tuple(replicas))


def _check_cores(knob: str, given: Sequence[int], available: Sequence[int]) -> None:
    for core in given:
        if core not in available:
            names = ", ".join(map(str, available))
            raise PlacementError(f"{knob}: core {core} is not one this process may use ({names})")


def _divide(cores: Sequence[int], parts: int) -> list[tuple[int, ...]]:
    """Equal parts of the cores; parts beyond the number of cores share them in turn."""
    size = max(1, len(cores) // max(parts, 1))
    firsts = (part * size % len(cores) for part in range(parts))
    return [tuple(cores[first : first + size]) for first in firsts]
