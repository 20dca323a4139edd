"""The JSON Schema of a configuration file, for editors and for ``delayline schema``."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from configs.kinds import kinds
from configs.model import Config, StageConfig, TuneRange
from configs.nodes import PART, model_name, model_of, schema_part
from configs.short import FAMILIES

_DATA = ("default", "examples", "enum", "const")
"""Keywords of JSON Schema whose values are data, not schemas."""


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) with every kind that is registered at the time of the call."""
    parts: dict[str, Any] = {}
    for cls in _classes():
        part = model_of(cls).model_json_schema()
        parts |= part.pop("$defs", {})
        parts[model_name(cls)] = part
    stage = parts[StageConfig.__name__]
    for key, (family, knob) in StageConfig.short_keys.items():
        stage["properties"][key] = {
            **schema_part(kinds(family)["fixed"], knob),
            "description": f"short for a fixed {family} of this {knob}",
        }
        stage["not"] = {"required": [key, family]}
    coalesce = stage["properties"]["coalesce"]
    coalesce["anyOf"] = [{"type": "boolean"}, *coalesce["anyOf"]]
    tune = parts[TuneRange.__name__]
    pair = {"type": "array", "minItems": 2, "maxItems": 2, "description": "[low, high]"}
    parts[TuneRange.__name__] = {"description": tune.pop("description"), "anyOf": [pair, tune]}
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "delayline configuration",
        **_tidy(parts.pop(Config.__name__)),
        "$defs": {name: _tidy(part) for name, part in parts.items()},
    }


def schema_text() -> str:
    """The schema as the text of a file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _tidy(schema: Any) -> Any:
    """``schema`` with our references resolved, and without pydantic's titles: they only repeat keys."""
    if isinstance(schema, list):
        return [_tidy(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if PART in schema and isinstance(schema[PART], str):
        rest = {key: value for key, value in schema.items() if key != PART}
        return {"$ref": f"#/$defs/{schema[PART]}", **_tidy(rest)}
    closed = {"additionalProperties": False} if "patternProperties" in schema else {}
    return closed | {
        key: value if key in _DATA else _tidy(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def _classes() -> Iterator[type[Any]]:
    """Every dataclass that a configuration may hold, each once."""
    seen: set[type[Any]] = set()
    todo: list[Any] = [Config]
    todo += [cls for family in FAMILIES for cls in kinds(family).values()]
    while todo:
        cls = todo.pop(0)
        if isinstance(cls, type) and dataclasses.is_dataclass(cls):
            if cls in seen:
                continue
            seen.add(cls)
            yield cls
            hints = typing.get_type_hints(cls, include_extras=True)
            todo += [hints[field.name] for field in dataclasses.fields(cls)]
        elif typing.get_origin(cls) is not typing.Annotated:
            todo += typing.get_args(cls)
