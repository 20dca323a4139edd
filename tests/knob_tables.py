"""Tables of keys in the documentation, made from the knobs' own declarations.

A page asks for them by comments: ``<!-- part: StageConfig -->`` is the table of one part of a
configuration, ``<!-- kinds: arrivals -->`` a section for each kind of a family. What stands between such
a comment and ``<!-- end -->`` is ours.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import delayline.loading  # noqa: F401  (makes every kind known)
from configs import model as config_model
from configs.kinds import kinds
from configs.nodes import family_of, model_of
from configs.plain import plain, unit_of
from configs.spellings import Name, Names, WarmupCut
from policies.knobs import Bounds, bounds_of, public_name

_MARKED = re.compile(r"(<!-- (part|kinds): ([\w/]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")
_ROOMS = ("executors", "policies", "sim")
_SPELLED = {Name: "name", Names: "name or list of names", WarmupCut: "duration or share"}
_WORDS = {bool: "true or false", str: "text", Path: "path", int: "integer", float: "number"}
_ENDLESS = 2**62
"""A bound from here on is what an integer can hold, not a choice that a reader need know."""


def filled(page: str) -> str:
    """``page`` with every table that it asks for as the code has it now."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{_made(found[2], found[3])}\n{found[4]}", page)


def _made(what: str, name: str) -> str:
    if what == "part":
        return table(getattr(config_model, name))
    sections = (
        f"### `{kind}`\n\n{_prose(cls)}\n\n{table(cls)}"
        for kind, cls in kinds(name).items()
        if cls.__module__.partition(".")[0] in _ROOMS  # tests register kinds of theirs
    )
    return "\n".join(sections)


def table(cls: type[Any]) -> str:
    """The keys of a part or a kind, a row each, with what the key takes and its default."""
    rows = list(_rows(cls))
    if not rows:
        return "No knobs.\n"
    return "| key | takes | default | meaning |\n|---|---|---|---|\n" + "".join(rows)


def _rows(cls: type[Any]) -> Iterator[str]:
    declared = model_of(cls).model_json_schema()
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        key = public_name(field.name)
        if key in declared.get("required", ()):
            default = "**required**"
        else:
            part = dataclasses.is_dataclass(hints[field.name])
            default = _default(declared["properties"][key]["default"], part)
        takes = takes_text(hints[field.name], unit_of(field.name), bounds_of(field))
        cells = (f"`{key}`", takes, default, bounds_of(field).doc)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(value: Any, part: bool) -> str:
    if value is None or value == "" or value == [] or value == {}:
        return "its defaults" if part else "–"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key}: {_flow(entry)}" for key, entry in value.items())
        return f"`{{{inner}}}`"
    return f"`{_flow(value)}`"


def _flow(value: Any) -> str:
    """A plain value as YAML's flow style has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)


def takes_text(annotation: Any, unit: str | None, bounds: Bounds) -> str:
    """What a key takes, in words, its bounds included."""
    family = family_of(annotation)
    if family is not None:
        return f"{family} kind"
    for spelled, text in _SPELLED.items():
        if annotation == spelled or annotation == spelled | None:
            return text
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return takes_text(args[0], unit, bounds)
    if origin in (Union, types.UnionType):
        return takes_text(next(a for a in args if a is not type(None)), unit, bounds)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in args)
    if origin is tuple:
        return f"list of {_plural(takes_text(args[0], unit, bounds))}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        of = takes_text(args[0], None, Bounds(""))
        return f"mapping of {of} to {takes_text(args[1], unit, bounds)}"
    if dataclasses.is_dataclass(annotation):
        return "part"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{each.value}`" for each in annotation)
    if annotation is Any:
        return "value"
    return (unit or _WORDS[annotation]) + _bounds_text(bounds, annotation, unit)


def _plural(text: str) -> str:
    word, space, rest = text.partition(" ")
    return f"{word}s{space}{rest}"


def _bounds_text(bounds: Bounds, number: type, unit: str | None) -> str:
    limits = {"≥": bounds.ge, ">": bounds.gt, "≤": bounds.le, "<": bounds.lt}
    texts = [
        f"{sign} {_limit(limit, number, unit)}"
        for sign, limit in limits.items()
        if limit is not None and limit < _ENDLESS
    ]
    return f" {', '.join(texts)}" if texts else ""


def _limit(limit: float, number: type, unit: str | None) -> str:
    if limit == 0:
        return "0"
    value = number(limit)
    if unit == "rate":
        return f"{value:g}/s"
    if unit == "price":
        return f"{value:g}/h"
    if unit in ("duration", "memory"):
        return str(plain(value, unit))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _prose(cls: type[Any]) -> str:
    """The docstring in Markdown: one line a paragraph, cross-references as plain code."""
    paragraphs = inspect.cleandoc(cls.__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return _ROLE.sub(r"`\1`", text).replace("``", "`").replace("<", "&lt;")
