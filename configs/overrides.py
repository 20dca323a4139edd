"""``--set stages.rank.policy.delay=2ms``: one key of a configuration given anew, before it is checked."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from configs.errors import ConfigError, Problem, nearest, no_entry, no_knob, shown
from configs.kinds import kinds
from configs.knob_paths import entry_names, position, split_path
from configs.nodes import family_of
from configs.short import FAMILIES, KIND, in_full, kind_in_full
from configs.yaml_text import parse_yaml
from policies.knobs import public_name


@dataclass(frozen=True, slots=True)
class Override:
    """One ``PATH=VALUE``."""

    text: str
    parts: tuple[str, ...]
    value: Any

    @property
    def source(self) -> str:
        """What an error message says that it comes from."""
        return f"--set {self.text}"


def parse_override(text: str) -> Override:
    """``PATH=VALUE``, where VALUE is a YAML scalar or flow collection. Raises ConfigError."""
    path, equals, value = text.partition("=")
    source = f"--set {text}"
    if not equals or not path.strip():
        raise ConfigError([Problem(source, "", "must be PATH=VALUE, such as seed=7")])
    parts = split_path(path)
    if not all(parts):
        raise ConfigError([Problem(source, path, "has an empty part between its dots")])
    return Override(text, tuple(parts), parse_yaml(value, source))


def apply_overrides(raw: Any, cls: type[Any], overrides: Sequence[Override]) -> Any:
    """``raw``, the mapping of a part ``cls``, with the overrides put in; ``raw`` itself stays as it is.

    Overrides of a ``kind`` go first, whatever their order, since a new kind drops the old one's knobs.
    Raises ConfigError for a path that leads nowhere; values are checked later, with the rest.
    """
    problems: list[Problem] = []
    for override in sorted(overrides, key=lambda o: o.parts[-1] != KIND):
        try:
            raw = _put(raw, cls, override.parts, 0, override.value)
        except _NoWay as error:
            where = ".".join(override.parts[: error.depth + 1])
            problems.append(Problem(override.source, where, error.text))
    if problems:
        raise ConfigError(problems)
    return raw


class _NoWay(Exception):  # noqa: N818
    def __init__(self, depth: int, text: str) -> None:
        self.depth = depth
        self.text = text
        super().__init__(text)


def _put(raw: Any, annotation: Any, parts: Sequence[str], depth: int, value: Any) -> Any:
    """``raw``, of type ``annotation``, with ``value`` below it at ``parts[depth:]``."""
    if depth == len(parts):
        return value
    family = family_of(annotation)
    if family is not None:
        return _put_kind(raw, family, parts, depth, value)
    bare = _bare(annotation)
    if isinstance(bare, type) and dataclasses.is_dataclass(bare):
        return _put_node({} if raw is None else raw, bare, parts, depth, value)
    origin = get_origin(bare)
    if origin is tuple:
        return _put_entry(raw, get_args(bare), parts, depth, value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key_type, entry = get_args(bare)
        entries = {} if raw is None else raw
        if not isinstance(entries, Mapping):
            raise _NoWay(depth - 1, f"holds {shown(raw)}, nothing that has keys")
        key: Any = parts[depth]
        if key_type is int and key.isdecimal():
            key = int(key)
        return {**entries, key: _put(entries.get(key), entry, parts, depth + 1, value)}
    raise _NoWay(depth, "there is nothing below a single value")


def _put_node(raw: Any, cls: type[Any], parts: Sequence[str], depth: int, value: Any) -> Any:
    try:
        full = in_full(cls, raw).value
        stands_for = getattr(cls, "short_keys", {}).get(parts[depth])
        if stands_for and isinstance(full, Mapping):
            if stands_for[0] not in full and depth + 1 == len(parts):
                return in_full(cls, {**full, parts[depth]: value}).value
            parts = [*parts[:depth], *stands_for, *parts[depth + 1 :]]
    except ValueError as error:
        raise _NoWay(depth - 1, str(error)) from error
    if not isinstance(full, Mapping):
        raise _NoWay(depth - 1, f"holds {shown(raw)}, nothing that has keys")
    fields = {public_name(f.name): f.name for f in dataclasses.fields(cls)}
    key = parts[depth]
    if key not in fields:
        raise _NoWay(depth, f"unknown key; {nearest(key, fields)}")
    hint = typing.get_type_hints(cls, include_extras=True)[fields[key]]
    return {**full, key: _put(full.get(key), hint, parts, depth + 1, value)}


def _put_kind(raw: Any, family: str, parts: Sequence[str], depth: int, value: Any) -> Any:
    if raw is None:
        raw = FAMILIES[family].default or {}
    full = kind_in_full(family, raw).value
    if not isinstance(full, Mapping):
        raise _NoWay(depth - 1, f"holds {shown(raw)}, nothing that has keys")
    key = parts[depth]
    if key == KIND and depth + 1 == len(parts):
        return full if full.get(KIND) == value else {KIND: value}
    kind = full.get(KIND)
    cls = kinds(family).get(kind) if isinstance(kind, str) else None
    if cls is None:
        if kind is None:
            known = ", ".join(kinds(family)) or "none"
            raise _NoWay(
                depth - 1, f"has no kind yet; set its kind first ({family} kinds: {known})"
            )
        return {**full, key: value}  # the unknown kind itself is reported with the rest
    fields = {public_name(f.name): f.name for f in dataclasses.fields(cls)}
    if key not in fields:
        raise _NoWay(depth, no_knob(family, kind, key, fields))
    hint = typing.get_type_hints(cls, include_extras=True)[fields[key]]
    return {**full, key: _put(full.get(key), hint, parts, depth + 1, value)}


def _put_entry(
    raw: Any, args: tuple[Any, ...], parts: Sequence[str], depth: int, value: Any
) -> Any:
    if not isinstance(raw, list | tuple):
        raise _NoWay(depth - 1, "is no list that has entries")
    index = position(parts[depth], raw)
    if index is None:
        raise _NoWay(depth, no_entry(depth, parts, entry_names(raw)))
    entry = args[0] if args[-1] is Ellipsis else args[min(index, len(args) - 1)]
    return [*raw[:index], _put(raw[index], entry, parts, depth + 1, value), *raw[index + 1 :]]


def _bare(annotation: Any) -> Any:
    """A type without ``| None`` and without its marks."""
    if get_origin(annotation) in (Union, types.UnionType):
        options = [a for a in get_args(annotation) if a is not type(None)]
        return _bare(options[0]) if len(options) == 1 else annotation
    return _bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation
