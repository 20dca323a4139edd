"""Everything that a configuration holds and an export does not, found by walking the configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from configs.dump import plain_config
from configs.model import Config
from configs.servers.base import Remark, left_out
from configs.yaml_text import Line, dump_yaml

_LONGEST = 72
_OF_THE_SIMULATION = (
    "name",
    "seed",
    "warmup",
    "replications",
    "estimates",
    "tune",
    "validate",
    "provenance",
    "dispatcher",
)
_WHY = {
    "objective": "what the settings were chosen to reach; a server is not told",
    "workload.arrivals": "what comes, not a setting",
    "workload.requests": "what comes, not a setting",
    "workload.duration": "what comes, not a setting",
    "workload.items": "what comes, not a setting",
    "workload.priorities": "what comes, not a setting",
    "service": "a property of the model and its device",
    "service_on": "a property of the model and its device",
    "model": "what a real run of ours executes",
    "keep": "what the model itself passes on",
    "max_items": "batches are counted in requests there",
}
"""Why a key is not said, where more can be told than that there is no word for it."""
_NO_WORD = "there is no such setting"
_IN_PARTS = ("workload", "devices")


def all_left_out(config: Config, said: Collection[str]) -> Iterator[Remark]:
    """One remark for each key with a value of its own that is not among ``said``.

    Keys are named as in the file: ``objective``, ``workload.deadline``, ``stages.rank.max_items``.
    """
    whole = plain_config(config)
    for key, value in whole.items():
        if key == "stages":
            for stage in value:
                yield from _parts(f"stages.{stage['name']}", stage, said)
        elif key in _IN_PARTS:
            yield from _parts(key, value, said)
        elif key not in said and key not in _OF_THE_SIMULATION:
            yield _remark(key, value)
    if simulated := [key for key in _OF_THE_SIMULATION if key in whole and key not in said]:
        yield left_out(", ".join(simulated), "of simulation and tuning alone")


def _parts(where: str, values: Mapping[str, Any], said: Collection[str]) -> Iterator[Remark]:
    for key, value in values.items():
        if (place := f"{where}.{key}") not in said:
            if where == "devices" and isinstance(value, Mapping):
                yield from _parts(place, value, said)
            else:
                yield _remark(place, value)


def _remark(place: str, value: Any) -> Remark:
    why = _WHY.get(place) or _WHY.get(place.rpartition(".")[2], _NO_WORD)
    return left_out(place, f"{shown(value)} ({why})")


def shown(value: Any) -> str:
    """A value in one line of YAML, cut where it is long."""
    line = " ".join(dump_yaml(Line({"x": value})).split())
    text = line.removeprefix("{x: ").removesuffix("}")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
