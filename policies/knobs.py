"""Knobs: the parameters of a kind (a policy, an arrival process, a service model), declared once.

A kind is a frozen dataclass. Each of its fields is a knob: the field's name ends in its unit
(``delay_ns``, ``rate_hz``), its bounds and its one-line meaning stand in the field itself. The
configuration schema, its error messages, ``--set`` and the documentation are all derived from that
one declaration; in YAML the unit suffix is dropped and the unit stands in the value
(``delay: 2ms``, ``rate: 800/s``).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

UNIT_SUFFIXES = {"_ns": "duration", "_hz": "rate", "_per_hour": "price", "_bytes": "memory"}
"""Field-name suffixes that carry a unit, and the kind of quantity each stands for."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a knob means and which values it takes; a bound is None where there is none.

    Bounds are in the unit of the field (nanoseconds for ``_ns``, per second for ``_hz``, money an hour for
    ``_per_hour``, bytes for ``_bytes``).
    """

    doc: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


def knob(
    doc: str,
    *,
    default: Any = dataclasses.MISSING,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    hashed: bool = True,
) -> Any:
    """A dataclass field that is a knob; without ``default`` it must be given. One that holds a mapping is not
    ``hashed``, or what has it could be no key of a cache.

    Returns ``Any`` as :func:`dataclasses.field` does, so that the annotation decides the type.
    """
    bounds = Bounds(doc, ge=ge, gt=gt, le=le, lt=lt)
    hashing = None if hashed else False
    if default is dataclasses.MISSING:
        return dataclasses.field(hash=hashing, metadata={"knob": bounds})
    return dataclasses.field(default=default, hash=hashing, metadata={"knob": bounds})


def bounds_of(field: dataclasses.Field[Any]) -> Bounds:
    """The declaration behind a field; a plain field counts as an unbounded knob without a text."""
    found = field.metadata.get("knob")
    return found if isinstance(found, Bounds) else Bounds("")


def public_name(field_name: str) -> str:
    """The knob's name in YAML: the field's name without its unit suffix."""
    for suffix in UNIT_SUFFIXES:
        if field_name.endswith(suffix):
            return field_name[: -len(suffix)]
    return field_name
