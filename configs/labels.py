"""Choosing by labels: ``gpu=A30, precision=fp16`` picks what a published table says of its rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from configs.errors import nearest

T = TypeVar("T")

_NEXT = re.compile(r",(?=[^,=]+=)")
"""A comma that the next NAME= follows: values may have commas of their own."""


class LabelError(ValueError):
    """A choice that cannot be made; the text says what there is to choose from."""


def parse_labels(text: str) -> dict[str, str]:
    """The labels in ``NAME=VALUE,NAME=VALUE``. Raises LabelError."""
    found: dict[str, str] = {}
    for part in _NEXT.split(text):
        name, equals, value = (each.strip() for each in part.partition("="))
        if not (name and equals and value):
            raise LabelError(f"must be NAME=VALUE, as in gpu=A30,precision=FP16, not {text!r}")
        if name in found:
            raise LabelError(f"{name} stands twice in {text!r}")
        found[name] = value
    return found


def show_labels(labels: Mapping[str, str]) -> str:
    """As :func:`parse_labels` reads them."""
    return ", ".join(f"{name}={value}" for name, value in labels.items())


def chosen(
    among: Sequence[T], labels: Callable[[T], Mapping[str, str]], wanted: Mapping[str, str]
) -> list[T]:
    """Those whose labels are as wanted: equal to the value given or, where none is, holding it; upper
    and lower case count alike. Raises LabelError for a name that none has, or a value that none is left
    with.
    """
    left = list(among)
    for name, value in wanted.items():
        named = [each for each in left if name in labels(each)]
        if not named:
            raise LabelError(f"there is no {name!r}; {nearest(name, _names(left, labels))}")
        there = list(dict.fromkeys(labels(each)[name] for each in named))
        fitting = _fitting(value, there)
        if not fitting:
            before = {key: wanted[key] for key in list(wanted)[: list(wanted).index(name)]}
            of = f" of {show_labels(before)}" if before else ""
            raise LabelError(f"no {name}{of} is or holds {value!r}; there is {', '.join(there)}")
        left = [each for each in named if labels(each)[name] in fitting]
    return left


def _fitting(value: str, there: Sequence[str]) -> list[str]:
    value = value.casefold()
    equal = [each for each in there if each.casefold() == value]
    return equal or [each for each in there if value in each.casefold()]


def _names(among: Sequence[T], labels: Callable[[T], Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for each in among for name in labels(each)))
