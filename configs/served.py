"""What a pipeline serves, apart from how it is scheduled: by which two configurations answer alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from configs.model import Config
from configs.plain import plain

_WHEN = frozenset({"quorum", "deadline"})
"""What of a merge says when it goes on, and not how results become one."""


def described(config: Config) -> list[dict[str, Any]]:
    """The stages in plain values: what each runs, after what, merged how, and at which levels. How many
    candidates it passes on is not among it, nor where models lie.
    """
    parents = config.parents()
    return [
        {
            "name": stage.name,
            "after": list(parents[stage.name]),
            "model": _model(stage.model),
            "merge": _how(stage.merge) if len(parents[stage.name]) > 1 else None,
            "levels": [
                {**_but(plain(level), "cost"), "model": _model(level.model)}
                for level in stage.levels
            ],
        }
        for stage in config.stages
    ]


def difference(these: list[dict[str, Any]], there: list[dict[str, Any]]) -> str:
    """The first thing in which descriptions of ``these`` stages differ from those ``there``, in words; empty
    where they are the same.
    """
    names, others = [each["name"] for each in these], [each["name"] for each in there]
    if names != others:
        return f"its stages are {', '.join(others)}, and here they are {', '.join(names)}"
    for here, other in zip(these, there, strict=True):
        for key in here.keys() | other.keys():
            if here.get(key) != other.get(key):
                return f"{key} of stage {here['name']} is {other.get(key)} there and {here.get(key)} here"
    return ""


def _model(model: Any) -> Any:
    """Without the places of files."""
    if not is_dataclass(model):
        return None
    paths = {field.name for field in fields(model) if isinstance(getattr(model, field.name), Path)}
    return _but(plain(model), *paths, "held_out")


def _how(merge: Any) -> Any:
    return None if merge is None else _but(plain(merge), *_WHEN)


def _but(node: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in keys}
