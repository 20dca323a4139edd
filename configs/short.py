"""Short forms, written in full before anything is checked.

A place in a configuration may be written shorter than it is: ``policy: immediate`` for a kind without
knobs, ``items: 100`` for the usual kind, ``delay: 10ms`` in a stage for a fixed policy. The full form
remembers where its parts stood, so that an error names the place that the reader knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from configs.errors import Loc
from policies.coalesce import Coalesce

KIND = "kind"
"""The key that names a kind."""


@dataclass(frozen=True, slots=True)
class Full:
    """A value in full, and for each place that was made up the one that it was written at."""

    value: object
    written_at: Mapping[Loc, Loc] = field(default_factory=dict)

    def place(self, loc: Loc) -> Loc:
        """``loc`` of the full form as it is in what was written."""
        for made, written in self.written_at.items():
            if loc[: len(made)] == made:
                return written + loc[len(made) :]
        return loc


@runtime_checkable
class HasShortForm(Protocol):
    """A part of the configuration that may be written shorter."""

    @classmethod
    def in_full(cls, raw: object) -> Full:
        """``raw`` in full; raises ValueError where the short form contradicts itself."""
        ...


SWITCHES: tuple[type[Any], ...] = (Coalesce,)
"""Parts of which ``true`` stands for the defaults."""


def in_full(cls: type[Any], raw: object) -> Full:
    """``raw``, a value for the part ``cls``, in full."""
    if raw is True and cls in SWITCHES:
        return Full({})
    return cls.in_full(raw) if issubclass(cls, HasShortForm) else Full(raw)


@dataclass(frozen=True, slots=True)
class FamilyShort:
    """What may stand for a kind of a family: nothing at all, or one scalar."""

    default: Mapping[str, Any] | None = None
    """The kind where the key is absent; None: no kind then."""
    scalar: tuple[str, str] | None = None
    """(kind, knob) that a bare number or quantity stands for."""


FAMILIES = {
    "arrivals": FamilyShort({KIND: "poisson", "rate": "100/s"}, ("poisson", "rate")),
    "items": FamilyShort(None, ("constant", "value")),
    "keys": FamilyShort(),
    "service": FamilyShort({KIND: "deterministic", "mean": 0}, ("deterministic", "mean")),
    "policy": FamilyShort({KIND: "immediate"}),
    "admission": FamilyShort(),
    "merge": FamilyShort(),
    "degrade": FamilyShort(),
    "model": FamilyShort(),
}


def kind_in_full(family: str, raw: object) -> Full:
    """A kind in full: text that begins with a letter names it, another scalar is its one knob."""
    if isinstance(raw, str) and raw[:1].isalpha():
        return Full({KIND: raw}, {(KIND,): ()})
    scalar = FAMILIES[family].scalar
    if scalar is not None and isinstance(raw, str | int | float) and not isinstance(raw, bool):
        return Full({KIND: scalar[0], scalar[1]: raw}, {(KIND,): (), (scalar[1],): ()})
    return Full(raw)
