"""From dataclasses of knobs back to what stands in YAML: public names, units in text, plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from configs.units import format_duration, format_memory, format_price, format_rate
from policies.knobs import UNIT_SUFFIXES, public_name

_SHOW = {
    ("duration", int): format_duration,
    ("rate", float): format_rate,
    ("rate", int): format_rate,
    ("price", float): format_price,
    ("memory", int): format_memory,
}


def unit_of(field_name: str) -> str | None:
    """``duration``, ``rate``, ``price`` or ``memory`` by the suffix of a name; None for a plain number."""
    return next((u for s, u in UNIT_SUFFIXES.items() if field_name.endswith(s)), None)


def plain(value: Any, unit: str | None = None, folder: Path | None = None) -> Any:
    """``value`` as YAML or JSON holds it; ``unit`` is that of the numbers in it.

    A dataclass becomes a mapping without the keys that have their default, a kind with its ``kind``
    first. Paths below ``folder`` become relative to it.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain_node(value, folder)
    if isinstance(value, Mapping):
        return {_plain_key(k): plain(v, unit, folder) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v, unit, folder) for v in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        below = folder is not None and value.is_relative_to(folder)
        return value.relative_to(folder).as_posix() if below and folder else str(value)
    show = _SHOW.get((unit or "", type(value)))
    return show(value) if show else value


def _plain_key(key: Any) -> Any:
    return key if isinstance(key, str | int | float) else str(key)


def _plain_node(node: Any, folder: Path | None) -> Any:
    spell = getattr(node, "spell", None)
    if callable(spell):
        return spell()
    kind = getattr(type(node), "kind", None)
    out: dict[str, Any] = {"kind": kind} if isinstance(kind, str) else {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if _is_default(field, value):
            continue
        out[public_name(field.name)] = plain(value, unit_of(field.name), folder)
    return out


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default is not dataclasses.MISSING:
        return type(value) is type(field.default) and bool(value == field.default)
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return False
