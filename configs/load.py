"""From a file, and what is set beside it, to a checked configuration; and back to text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.checks import problems as held_problems
from configs.errors import ConfigError, Loc, Problem, key_path
from configs.model import Config, StageConfig
from configs.nodes import value_of
from configs.overrides import Override, apply_overrides, parse_override
from configs.yaml_text import read_yaml


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """The configuration in the YAML file at ``path``, with ``overrides`` (``PATH=VALUE``) put in.

    Raises ConfigError with everything that is wrong, one line each. The rooms whose kinds the file
    names must have been imported before (``sim.kinds``, ``executors.kinds``).
    """
    file = Path(path)
    return parse_config(read_yaml(file), file=file, overrides=overrides)


def parse_config(
    mapping: Mapping[Any, Any],
    *,
    file: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """The configuration that a mapping holds, as if it stood in ``file``: relative paths count from
    its folder (from the working folder without one), and messages name it. Raises ConfigError.
    """
    source = "" if file is None else str(file)
    given = [parse_override(text) for text in overrides]
    raw = apply_overrides(mapping, Config, given)
    stage_names = _stage_names(raw)
    folder = Path(os.path.abspath(source)).parent if source else Path.cwd()
    try:
        config = value_of(Config, raw, {"folder": folder})
    except ValidationError as error:
        found = [
            (key_path(_without_marks(e["loc"]), stage_names), e["msg"])
            for e in error.errors(include_url=False)
        ]
        raise _error(source, given, stage_names, found) from error
    if not config.name:
        config = replace(config, name=Path(source).stem if source else "config")
    broken = list(held_problems(config))
    if broken:
        # What does not fit together may be due to any part, so all that was set is named.
        with_all = " ".join([source, *(f"with {override.source}" for override in given)]).strip()
        raise _error(with_all, given, stage_names, broken)
    return config


def _stage_names(raw: Any) -> list[str | None]:
    stages = raw.get("stages") if isinstance(raw, Mapping) else None
    if not isinstance(stages, list | tuple):
        return []
    names = [s.get("name") if isinstance(s, Mapping) else None for s in stages]
    return [n if isinstance(n, str) and n and names.count(n) == 1 else None for n in names]


def _without_marks(loc: Loc) -> Loc:
    """Without pydantic's mark for an error in a mapping's key rather than its value."""
    return tuple(part for part in loc if part != "[key]")


def _error(
    otherwise: str,
    given: Sequence[Override],
    stage_names: Sequence[str | None],
    found: Sequence[tuple[str, str]],
) -> ConfigError:
    """The problems, each laid to the last override that touched its place, or else to ``otherwise``."""
    touched = [(_compared(o.parts, stage_names), o.source) for o in given]
    lines = []
    for where, text in found:
        place = _compared(where.replace("[", ".").replace("]", "").split("."), stage_names)
        blamed = [by for path, by in touched if place.startswith(path) or path.startswith(place)]
        lines.append(Problem(blamed[-1] if blamed else otherwise, where, text))
    return ConfigError(lines)


def _compared(parts: Sequence[str], stage_names: Sequence[str | None]) -> str:
    """A path in the one form in which two can be compared: stages by name, short forms in full."""
    if len(parts) > 1 and parts[0] == "stages":
        name = dict(enumerate(stage_names)).get(int(parts[1])) if parts[1].isdecimal() else None
        short = StageConfig.short_keys.get(parts[2], (parts[2],)) if len(parts) > 2 else ()
        parts = ["stages", name or parts[1], *short, *parts[3:]]
    return ".".join(parts) + "."
