"""Knobs by path in a loaded configuration: ``stages.rank.policy.delay`` read, described and replaced."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from configs.errors import ConfigError, Problem, nearest, no_entry, no_knob
from configs.fields import NO_BOUNDS
from configs.kinds import kinds
from configs.messages import message
from configs.nodes import family_of, read_type
from configs.plain import plain, unit_of
from configs.short import KIND
from policies.knobs import Bounds, bounds_of, public_name


class NoKnobError(ConfigError):
    """A path to a knob that the kind in its place has not."""


class OtherKindError(NoKnobError):
    """One that another kind of the family has."""


@dataclass(frozen=True, slots=True)
class Knob:
    """A knob of a loaded configuration."""

    path: str
    value: Any
    annotation: Any
    """Its type; for an entry of a list or a mapping, the entry's."""
    unit: str | None
    """``duration`` (int nanoseconds), ``rate`` (float a second) or None."""
    bounds: Bounds
    """What it means and which values it takes."""

    @property
    def number(self) -> type[int] | type[float] | None:
        """Int or float for a knob that is a number (or may be none), otherwise None."""
        options = [a for a in _options(self.annotation) if a is not type(None)]
        return options[0] if len(options) == 1 and options[0] in (int, float) else None

    def read(self, raw: object, bounds: Bounds | None = None) -> Any:
        """The value that ``raw`` stands for in YAML, within ``bounds`` if not the knob's own.

        Raises ConfigError.
        """
        typed = read_type(self.annotation, self.unit, bounds or self.bounds)
        try:
            return TypeAdapter(typed).validate_python(raw)
        except ValidationError as error:
            found = [
                Problem("", ".".join([self.path, *map(str, e["loc"])]), message(e, (), {}))
                for e in error.errors(include_url=False)
            ]
            raise ConfigError(found) from error

    def show(self, value: Any) -> Any:
        """``value`` as YAML holds it: ``2ms`` for 2000000."""
        return plain(value, self.unit)


def split_path(path: str) -> list[str]:
    """The parts of a path; what follows ``tune.`` is one part, itself a path."""
    parts = path.strip().replace("[", ".").replace("]", "").split(".")
    return [parts[0], ".".join(parts[1:])] if parts[0] == "tune" and len(parts) > 1 else parts


def named_path(config: Any, path: str) -> str:
    """``path`` with stages by name, in the one form in which two can be compared."""
    first, *rest = split_path(path)
    if first == "stages" and rest:
        index = position(rest[0], config.stages)
        rest[0] = rest[0] if index is None else config.stages[index].name
    return ".".join([first, *rest])


def knob_at(config: Any, path: str) -> Knob:
    """The knob at ``path``. Raises ConfigError, with the nearest name, where there is none."""
    place = _Place(config, type(config), None, NO_BOUNDS, lambda new: new)
    for depth, part in enumerate(split_path(path)):
        place = _below(place, part, path, depth)
    return Knob(path, place.value, place.annotation, place.unit, place.bounds)


def knob_value(config: Any, path: str) -> Any:
    """The value at ``path``: int nanoseconds for a duration, float a second for a rate."""
    return knob_at(config, path).value


def with_knob(config: Any, path: str, value: Any) -> Any:
    """A copy of ``config`` with the value (as :func:`knob_value` gives it) at ``path`` replaced.

    Bounds are not checked; see ``configs.checks.checked``.
    """
    place = _Place(config, type(config), None, NO_BOUNDS, lambda new: new)
    for depth, part in enumerate(split_path(path)):
        place = _below(place, part, path, depth)
    return place.rebuild(value)


@dataclass(frozen=True, slots=True)
class _Place:
    value: Any
    annotation: Any
    unit: str | None
    bounds: Bounds
    rebuild: Callable[[Any], Any]
    """The whole configuration with another value in this place."""


def _options(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _entry_type(annotation: Any) -> Any:
    """The type of a list's or mapping's entries."""
    for option in _options(annotation):
        bare = get_args(option)[0] if get_origin(option) is Annotated else option
        args = [a for a in get_args(bare) if a is not Ellipsis]
        if args:
            return args[-1]
    return Any


def _below(place: _Place, part: str, path: str, depth: int) -> _Place:
    value, rebuild = place.value, place.rebuild

    def refuse(text: str) -> ConfigError:
        here = ".".join(split_path(path)[: depth + 1])
        return ConfigError([Problem("", here, text)])

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _field_below(place, part, refuse)
    if isinstance(value, Mapping):
        keys = {str(key): key for key in value}
        if part not in keys:
            raise refuse(no_entry(depth, split_path(path), keys))
        key = keys[part]
        return _Place(
            value[key],
            _entry_type(place.annotation),
            place.unit,
            place.bounds,
            lambda new: rebuild({**value, key: new}),
        )
    if isinstance(value, tuple):
        index = position(part, value)
        if index is None:
            raise refuse(no_entry(depth, split_path(path), entry_names(value)))
        return _Place(
            value[index],
            _entry_type(place.annotation),
            place.unit,
            place.bounds,
            lambda new: rebuild((*value[:index], new, *value[index + 1 :])),
        )
    if value is None:
        raise refuse("cannot be reached: the key above it is not set in this configuration")
    raise refuse("cannot be reached: the key above it holds a single value")


def _has_another_kind(annotation: Any, knob: str) -> bool:
    """Whether another kind of the family that a field takes has such a knob."""
    family = family_of(annotation)
    return family is not None and any(
        knob in (public_name(field.name) for field in dataclasses.fields(cls))
        for cls in kinds(family).values()
    )


def _field_below(
    place: _Place,
    part: str,
    refuse: Callable[[str], ConfigError],
) -> _Place:
    value, rebuild = place.value, place.rebuild
    kind = getattr(type(value), KIND, None)
    if part == KIND and isinstance(kind, str):
        raise refuse("is no knob; name the key above it to choose among kinds")
    fields = {public_name(f.name): f for f in dataclasses.fields(value)}
    if part not in fields:
        if not isinstance(kind, str):
            raise refuse(f"there is no such knob; {nearest(part, fields)}")
        error = refuse(no_knob(None, kind, part, fields))
        other = _has_another_kind(place.annotation, part)
        raise (OtherKindError if other else NoKnobError)(error.problems)
    field = fields[part]
    cls: Any = type(value)
    hints: dict[str, Any] = _hints(cls)
    return _Place(
        getattr(value, field.name),
        hints[field.name],
        unit_of(field.name),
        bounds_of(field),
        lambda new: rebuild(dataclasses.replace(value, **{field.name: new})),
    )


@cache
def _hints(cls: Any) -> dict[str, Any]:
    """The types of a part's fields; slow to resolve, and a search sets knobs thousands of times."""
    return typing.get_type_hints(cls, include_extras=True)


def entry_names(entries: Sequence[Any]) -> list[str]:
    """What the entries of a list go by: their names, or their positions where they have none."""
    return [_name_of(entry) or str(i) for i, entry in enumerate(entries)]


def position(part: str, entries: Sequence[Any]) -> int | None:
    """Where in a list the entry is that a path means, by name or by position from 0."""
    for i, entry in enumerate(entries):
        if _name_of(entry) == part:
            return i
    if part.isdecimal() and len(part) < 10 and int(part) < len(entries):
        return int(part)
    return None


def _name_of(entry: Any) -> str | None:
    name = entry.get("name") if isinstance(entry, Mapping) else getattr(entry, "name", None)
    return name if isinstance(name, str) else None
