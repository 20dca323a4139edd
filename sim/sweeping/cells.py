"""The values of knobs as the cells of a table: plain numbers, their unit in the name of the column."""

from __future__ import annotations

from typing import Any, Literal

import yaml

from configs.short import KIND
from sim.sweeping.axes import Axis

CellType = Literal["float64", "int64", "bool", "string"]
_SUFFIXES = {"duration": "_ms", "rate": "_hz", "price": "_per_hour", "memory": "_bytes"}
_NS_PER_MS = 1e6
_ONE_LINE = 1_000_000


def column(axis: Axis) -> tuple[str, CellType]:
    """Name and type of the column of a knob: ``stages.rank.policy.delay_ms``, a float."""
    suffix = _SUFFIXES.get(axis.knob.unit or "", "") if axis.knob.number is not None else ""
    return axis.path + suffix, _type(axis)


def cell(axis: Axis, value: Any) -> float | int | bool | str | None:
    """A value of the knob in that column; what is no single value as the text that YAML reads."""
    if value is None or isinstance(value, bool):
        return value
    if axis.knob.number is not None:
        number: float | int = value
        return number / _NS_PER_MS if axis.knob.unit == "duration" else number
    return _flow(axis.knob.show(value))


def _flow(shown: Any) -> str:
    """What YAML holds, in one line: ``{kind: fixed, delay: 2ms}``; a kind without knobs by its name."""
    if isinstance(shown, dict) and list(shown) == [KIND]:
        return str(shown[KIND])
    if isinstance(shown, str):
        return shown
    text: str = yaml.safe_dump(shown, default_flow_style=True, sort_keys=False, width=_ONE_LINE)
    return text.strip()


def _type(axis: Axis) -> CellType:
    if axis.knob.number is not None:
        return "int64" if axis.knob.number is int and axis.knob.unit is None else "float64"
    return "bool" if axis.knob.annotation is bool else "string"
