"""Single values: from a knob's annotation, unit and bounds to the pydantic type that reads it.

A type with a unit is written as text (``2ms``) and held as a number (``delay_ns``). Numbers are strict:
text is no number and ``true`` is not 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, Strict, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from configs import units
from configs.errors import shown
from policies.knobs import Bounds

NO_BOUNDS = Bounds("")


def refusal(text: str) -> PydanticCustomError:
    """An error whose message is final: it is shown as it stands."""
    return PydanticCustomError("problem", text)


@dataclass(frozen=True, slots=True, eq=False)
class Spelled:
    """A value that is written as text: how it is read, shown, and described in the JSON schema.

    ``parse`` raises ValueError with the end of a sentence whose subject is the key.
    """

    parse: Callable[[object], Any]
    show: Callable[[Any], str]
    schema: dict[str, Any]
    bounds: Bounds = NO_BOUNDS

    def validate(self, value: object) -> Any:
        """Read and check the bounds."""
        try:
            found = self.parse(value)
        except ValueError as error:
            raise refusal(str(error)) from error
        text = bounds_text(found, self.bounds, self.show)
        if text:
            raise refusal(text)
        return found

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self,
        schema: CoreSchema,
        handler: GetJsonSchemaHandler,
    ) -> dict[str, Any]:
        return dict(self.schema)


def bounds_text(value: Any, bounds: Bounds, show: Callable[[Any], str]) -> str:
    """What to say of a value outside its bounds; empty for one within."""
    if bounds.ge is not None and value < bounds.ge:
        return f"must be at least {show(bounds.ge)}, not {show(value)}"
    if bounds.gt is not None and value <= bounds.gt:
        return f"must be more than {show(bounds.gt)}, not {show(value)}"
    if bounds.le is not None and value > bounds.le:
        return f"must be at most {show(bounds.le)}, not {show(value)}"
    if bounds.lt is not None and value >= bounds.lt:
        return f"must be less than {show(bounds.lt)}, not {show(value)}"
    return ""


def duration(bounds: Bounds) -> Any:
    """Int nanoseconds, written as in ``2ms``; a plain 0 needs no unit."""
    schema = {
        "anyOf": [{"type": "string", "pattern": units.DURATION_PATTERN}, {"const": 0}],
        "examples": ["2ms"],
    }
    show = lambda ns: units.format_duration(int(ns))  # noqa: E731
    return Annotated[int, Spelled(units.parse_duration, show, schema, bounds)]


def rate(bounds: Bounds) -> Any:
    """Float per second, written as in ``800/s``."""
    schema = {"type": "string", "pattern": units.RATE_PATTERN, "examples": ["800/s"]}
    return Annotated[float, Spelled(units.parse_rate, units.format_rate, schema, bounds)]


def price(bounds: Bounds) -> Any:
    """Float an hour, written as in ``0.6/h``."""
    schema = {"type": "string", "pattern": units.RATE_PATTERN, "examples": ["0.6/h"]}
    return Annotated[float, Spelled(units.parse_price, units.format_price, schema, bounds)]


def memory(bounds: Bounds) -> Any:
    """Int bytes, written as in ``300MB``."""
    schema = {"type": "string", "pattern": units.MEMORY_PATTERN, "examples": ["300MB"]}
    show = lambda size: units.format_memory(int(size))  # noqa: E731
    return Annotated[int, Spelled(units.parse_memory, show, schema, bounds)]


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _limits(bounds: Bounds) -> dict[str, Any]:
    limits = {"ge": bounds.ge, "gt": bounds.gt, "le": bounds.le, "lt": bounds.lt}
    return {name: limit for name, limit in limits.items() if limit is not None}


def whole_number(bounds: Bounds) -> Any:
    """int; ``1e6`` counts as whole, ``true`` and ``'5'`` do not."""
    return Annotated[int, Strict(), Field(**_limits(bounds)), BeforeValidator(_whole)]


def number(bounds: Bounds) -> Any:
    """A finite float."""
    return Annotated[float, Strict(), Field(allow_inf_nan=False, **_limits(bounds))]


def _path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        text = str(value)
    elif isinstance(value, str) and value and "\0" not in value:
        text = value
    else:
        raise refusal(f"must be the path of a file, not {shown(value)}")
    found = Path(text).expanduser()
    folder = (info.context or {}).get("folder")
    if folder is None and not found.is_absolute():
        raise refusal(f"must be an absolute path here, not {shown(text)}")
    return Path(os.path.abspath(found if folder is None else folder / found))


FILE = Annotated[
    Path,
    BeforeValidator(_path, json_schema_input_type=str),
    Field(description="path, relative to the configuration's folder"),
]
"""A path, made absolute: relative ones count from the folder of the configuration file."""

_UNITLESS = {int: whole_number, float: number}
_WITH_UNIT = {
    ("duration", int): duration,
    ("rate", float): rate,
    ("price", float): price,
    ("memory", int): memory,
}


def single(annotation: Any, unit: str | None, bounds: Bounds) -> Any:
    """The pydantic type of one value, or None where ``annotation`` is no single value known here."""
    if unit is not None and (unit, annotation) in _WITH_UNIT:
        return _WITH_UNIT[unit, annotation](bounds)
    if annotation in _UNITLESS:
        return _UNITLESS[annotation](bounds)
    if annotation is bool:
        return Annotated[bool, Strict()]
    if annotation is str:
        return Annotated[str, Strict()]
    if annotation is Path:
        return FILE
    return None
