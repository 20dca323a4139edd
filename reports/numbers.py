"""Numbers as a reader takes them in: few digits, thousands grouped, a dash for what is not there."""

from __future__ import annotations

from math import floor, isfinite, log10

NONE = "–"


def figure(value: float | None, digits: int = 3) -> str:
    """A number to ``digits`` significant digits; whole numbers of more digits stay whole."""
    if value is None or not isfinite(value):
        return NONE
    if value == 0:
        return "0"
    places = max(0, digits - 1 - floor(log10(abs(value))))
    return f"{value:,.{min(places, 12)}f}"


def count(value: float | None) -> str:
    """A whole number."""
    return NONE if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """A share as percent, near 100 with the digits that tell it from 100."""
    if share is None or not isfinite(share):
        return NONE
    shown = 100 * share
    for places in (0 if shown >= 10 else 1, 1, 2, 3):
        text = f"{shown:.{places}f}"
        if (float(text) < 100 or shown >= 100) and (float(text) > 0 or shown <= 0):
            break
    return f"{text}%"


def change(ratio: float | None) -> str:
    """How far a ratio is from 1, in percent with its sign.

    Above +1,000% as a multiple; a dash above a thousand times, which is a ratio to next to nothing.
    """
    if ratio is None or not isfinite(ratio) or ratio > 1000:
        return NONE
    if ratio > 11:
        return f"×{figure(ratio)}"
    off = 100 * (ratio - 1)
    return "±0%" if abs(off) < 0.05 else f"{off:+,.1f}%" if abs(off) < 10 else f"{off:+,.0f}%"
