"""From pydantic's error types to the words that a reader of a configuration needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic_core import ErrorDetails

from configs.errors import nearest, shown

_MUST_BE = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "a mapping of keys to values",
    "tuple_type": "a list",
}
_BOUND = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def message(error: ErrorDetails, keys: Sequence[str], docs: Mapping[str, str]) -> str:
    """What is wrong, as the end of a sentence whose subject is the key path.

    ``keys`` are the names that the place knows, ``docs`` what each means.
    """
    kind, found, ctx = error["type"], error["input"], error.get("ctx", {})
    last = error["loc"][-1] if error["loc"] else ""
    if kind == "problem":
        return error["msg"]
    if kind == "missing":
        doc = docs.get(str(last), "")
        return f"is missing ({doc})" if doc else "is missing"
    if kind in ("extra_forbidden", "invalid_key"):
        return f"unknown key; {nearest(last, keys)}"
    if kind in _MUST_BE:
        return f"must be {_MUST_BE[kind]}, not {shown(found)}" + _text_hint(kind, found)
    if kind in _BOUND:
        words, name = _BOUND[kind]
        return f"must be {words} {_number(ctx[name])}, not {shown(found)}"
    if kind in ("literal_error", "enum"):
        expected = str(ctx["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        return f"must be one of {', '.join(expected)}; not {shown(found)}" + _close(found, expected)
    if kind in ("too_short", "too_long"):
        bound = ctx.get("min_length", ctx.get("max_length"))
        words = "at least" if kind == "too_short" else "at most"
        return f"must have {words} {bound} entries, not {ctx['actual_length']}"
    return error["msg"][:1].lower() + error["msg"][1:] + f" (found {shown(found)})"


def _number(bound: object) -> str:
    if isinstance(bound, float) and bound.is_integer() and abs(bound) < 1e15:
        return str(int(bound))
    return json.dumps(bound) if isinstance(bound, int | float) else str(bound)


def _close(found: object, expected: Sequence[str]) -> str:
    hint = nearest(found, expected)
    return f"; {hint}" if hint.startswith("did you mean") else ""


def _text_hint(kind: str, found: object) -> str:
    """A word on text that only looks like what was wanted; quotes and YAML 1.1 habits are the cause."""
    if not isinstance(found, str):
        return ""
    if kind == "bool_type" and found.lower() in ("yes", "no", "on", "off", "y", "n"):
        meant = "true" if found.lower() in ("yes", "on", "y") else "false"
        return f"; write {meant}"
    if kind in ("int_type", "float_type"):
        digits = found.replace("_", "").replace(",", "")
        try:
            float(digits)
        except ValueError:
            return ""
        return f"; write {digits} without quotes or separators"
    return ""
