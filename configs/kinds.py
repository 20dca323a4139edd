"""The kinds that a configuration can name, by family.

A kind is a frozen dataclass whose fields are knobs (see ``policies.knobs``) and whose ``kind`` is its
name in YAML. A room makes its kinds known by registering them when its ``kinds`` module is imported
(``sim.kinds``: arrivals, items, keys, service; ``executors.kinds``: model); policies, admissions,
degradations and merge rules are registered here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from policies.registry import ADMISSIONS, DEGRADES, MERGES, POLICIES

_KINDS: dict[str, dict[str, type[Any]]] = {
    "arrivals": {},
    "items": {},
    "keys": {},
    "service": {},
    "policy": {},
    "admission": {},
    "merge": {},
    "degrade": {},
    "model": {},
}


def _family(family: str) -> dict[str, type[Any]]:
    if family not in _KINDS:
        raise ValueError(f"no family of kinds is called {family!r}; there are: {', '.join(_KINDS)}")
    return _KINDS[family]


def register(family: str, cls: type[Any]) -> None:
    """Make ``cls`` known as a kind of ``family`` under the name ``cls.kind``.

    Registering the same class again does nothing. Raises ValueError for an unknown family or a name
    that another class has, TypeError for a class that is no frozen dataclass with a ``kind``.
    """
    known = _family(family)
    name = getattr(cls, "kind", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"{cls.__qualname__} needs a class attribute `kind`, its name in YAML")
    parameters = getattr(cls, "__dataclass_params__", None)
    if not dataclasses.is_dataclass(cls) or parameters is None or not parameters.frozen:
        raise TypeError(f"{cls.__qualname__} must be a frozen dataclass: its fields are its knobs")
    if known.setdefault(name, cls) is not cls:
        raise ValueError(
            f"{family} kind {name!r} is {known[name].__qualname__} already; "
            f"give {cls.__qualname__} another name"
        )


def kinds(family: str) -> Mapping[str, type[Any]]:
    """The kinds of a family by their names in YAML: a live, read-only view."""
    return MappingProxyType(_family(family))


for _policy in POLICIES.values():
    register("policy", _policy)
for _admission in ADMISSIONS.values():
    register("admission", _admission)
for _merge in MERGES.values():
    register("merge", _merge)
for _degrade in DEGRADES.values():
    register("degrade", _degrade)
