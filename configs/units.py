"""Durations, rates and prices as people write them: ``2ms``, ``1.5s``, ``800/s``, ``0.6/h``.

Text is read exactly (as a fraction of integers, never through a float): a duration becomes a whole
number of nanoseconds or an error, a rate or a price the float that is nearest to what was written.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
"""Units of time, in nanoseconds. ``m`` is read as ``min`` and ``µs`` as ``us``."""

LONGEST_NS = 3650 * UNITS_NS["d"]
"""Longest duration taken, about ten years; far below where int64 nanoseconds end (292 years)."""

HIGHEST_HZ = 1e9
"""Highest rate taken: one in a nanosecond, the resolution of time inside."""

HIGHEST_PER_HOUR = 1e9
"""Highest price taken."""

UNITS_BYTES = {
    "B": 1,
    **{f"{prefix}B": 1000**k for k, prefix in enumerate(("k", "M", "G", "T"), 1)},
    **{f"{prefix}iB": 1024**k for k, prefix in enumerate(("K", "M", "G", "T"), 1)},
}
"""Units of memory, in bytes."""

MOST_BYTES = 2**50
"""Most memory taken."""

_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?"
_TIME_UNIT = r"ns|us|µs|μs|ms|s|min|m|h|d"
DURATION_PATTERN = rf"^{_NUMBER}\s*(?:{_TIME_UNIT})$"
"""What a duration other than 0 looks like, as a regular expression for a schema too."""
RATE_PATTERN = rf"^{_NUMBER}\s*/\s*(?:{_TIME_UNIT})$"
"""What a rate looks like."""
MEMORY_PATTERN = rf"^{_NUMBER}\s*(?:[KMGT]i|[kMGT])?B$"
"""What an amount of memory looks like."""

_MEMORY = re.compile(rf"^\s*(-?)({_NUMBER})\s*((?:[KMGT]i|[kMGT])?B)\s*$")
_QUANTITY = re.compile(rf"^\s*(-?)({_NUMBER})\s*(/?)\s*({_TIME_UNIT})\s*$")
_SAME_UNIT = {"m": "min", "µs": "us", "μs": "us"}
_LONGEST_TEXT = 64
_UNITS_BELOW_S = ("ms", "us", "ns")


def _unit_ns(unit: str) -> int:
    return UNITS_NS[_SAME_UNIT.get(unit, unit)]


def _match(text: str, slash: str) -> tuple[str, Fraction, str] | None:
    if len(text) > _LONGEST_TEXT:
        return None
    found = _QUANTITY.match(text)
    if found is None or found[3] != slash:
        return None
    return found[1], Fraction(found[2]), found[4]


def parse_duration(value: object) -> int:
    """Nanoseconds in ``value``: text with a unit (ns, us, ms, s, min, h, d), or the number 0.

    Raises ValueError for anything else: a number without a unit, a negative or fractional number of
    nanoseconds, more than ten years.
    """
    if not isinstance(value, bool) and isinstance(value, int | float):
        if value == 0:
            return 0
        raise ValueError(f"needs a unit: write {value:g}ms or {value:g}s, not {value:g}")
    if not isinstance(value, str):
        raise ValueError(f"must be a duration such as 2ms, not {_named(value)}")
    if value.strip() == "0":
        return 0
    found = _match(value, "")
    if found is None:
        raise ValueError(
            f"must be a duration such as 2ms, 350us or 1.5s, not {_named(value)}"
            + _unit_hint(value, "ms")
        )
    sign, number, unit = found
    if sign and number:
        raise ValueError(f"must not be negative, but is {value.strip()}")
    exact_ns = number * _unit_ns(unit)
    if exact_ns > LONGEST_NS:
        raise ValueError(f"must be at most {LONGEST_NS // UNITS_NS['d']}d, not {value.strip()}")
    if exact_ns.denominator != 1:
        raise ValueError(f"must be a whole number of nanoseconds, which {value.strip()} is not")
    return exact_ns.numerator


def format_duration(duration_ns: int) -> str:
    """The text that :func:`parse_duration` reads as exactly ``duration_ns``, which is not negative.

    A whole number of the largest unit that gives one, unless that takes a thousand or more of a unit
    below a second: then with decimals, ``9.61ms`` rather than ``9610us``.
    """
    if duration_ns == 0:
        return "0ms"
    for unit, unit_ns in reversed(UNITS_NS.items()):
        whole, rest = divmod(duration_ns, unit_ns)
        if not rest and (whole < 1000 or unit not in _UNITS_BELOW_S):
            return f"{whole}{unit}"
    unit = next(u for u in ("s", *_UNITS_BELOW_S) if duration_ns >= UNITS_NS[u])
    whole, rest = divmod(duration_ns, UNITS_NS[unit])
    digits = len(str(UNITS_NS[unit])) - 1
    return f"{whole}.{str(rest).zfill(digits).rstrip('0')}{unit}"


def parse_rate(value: object) -> float:
    """Events a second in ``value``: text such as ``800/s``, ``12/min`` or ``3600/h``.

    Raises ValueError for a number without a unit, a negative rate, or more than one a nanosecond.
    """
    if not isinstance(value, bool) and isinstance(value, int | float):
        raise ValueError(f"needs a unit: write {value:g}/s, not {value:g}")
    if not isinstance(value, str):
        raise ValueError(f"must be a rate such as 800/s, not {_named(value)}")
    found = _match(value, "/")
    if found is None:
        raise ValueError(
            f"must be a rate such as 800/s, 12/min or 3600/h, not {_named(value)}"
            + _unit_hint(value, "/s")
        )
    sign, number, unit = found
    if sign and number:
        raise ValueError(f"must not be negative, but is {value.strip()}")
    exact_hz = number * UNITS_NS["s"] / _unit_ns(unit)
    if exact_hz > HIGHEST_HZ:
        raise ValueError(f"must be at most {HIGHEST_HZ:.0f}/s, not {value.strip()}")
    return float(exact_hz)


def format_rate(rate_hz: float) -> str:
    """The text a second that :func:`parse_rate` reads as exactly ``rate_hz``."""
    if math.isfinite(rate_hz) and rate_hz == int(rate_hz):
        return f"{int(rate_hz)}/s"
    return f"{rate_hz!r}/s"


def parse_price(value: object) -> float:
    """Money an hour in ``value``: text such as ``0.6/h`` or ``14.4/d``, in any currency.

    Raises ValueError for a number without a unit, a negative price, or one above 1e9 an hour.
    """
    if not isinstance(value, bool) and isinstance(value, int | float):
        raise ValueError(f"needs a unit: write {value:g}/h, not {value:g}")
    found = _match(value, "/") if isinstance(value, str) else None
    if found is None:
        hint = _unit_hint(value, "/h") if isinstance(value, str) else ""
        raise ValueError(f"must be a price such as 0.6/h or 14.4/d, not {_named(value)}{hint}")
    sign, number, unit = found
    if sign and number:
        raise ValueError(f"must not be negative, but is {str(value).strip()}")
    exact = number * UNITS_NS["h"] / _unit_ns(unit)
    if exact > HIGHEST_PER_HOUR:
        raise ValueError(f"must be at most {HIGHEST_PER_HOUR:.0f}/h, not {str(value).strip()}")
    return float(exact)


def format_price(per_hour: float) -> str:
    """The text an hour that :func:`parse_price` reads as exactly ``per_hour``."""
    return format_rate(per_hour).removesuffix("/s") + "/h"


def parse_memory(value: object) -> int:
    """Bytes in ``value``: text such as ``300MB``, ``1.5GB`` or ``4GiB``.

    Raises ValueError for a number without a unit, a negative or fractional number of bytes, more than a
    pebibyte.
    """
    if not isinstance(value, bool) and isinstance(value, int | float):
        raise ValueError(f"needs a unit: write {value:g}MB, not {value:g}")
    short = isinstance(value, str) and len(value) <= _LONGEST_TEXT
    found = _MEMORY.match(value) if short and isinstance(value, str) else None
    if found is None:
        hint = _unit_hint(value, "MB") if isinstance(value, str) else ""
        raise ValueError(f"must be a memory such as 300MB or 4GiB, not {_named(value)}{hint}")
    if found[1] and Fraction(found[2]):
        raise ValueError(f"must not be negative, but is {str(value).strip()}")
    exact = Fraction(found[2]) * UNITS_BYTES[found[3]]
    if exact > MOST_BYTES:
        raise ValueError(f"must be at most {MOST_BYTES // 2**40}TiB, not {str(value).strip()}")
    if exact.denominator != 1:
        raise ValueError(f"must be a whole number of bytes, which {str(value).strip()} is not")
    return int(exact)


def format_memory(size_bytes: int) -> str:
    """The text that :func:`parse_memory` reads as exactly ``size_bytes``, which is not negative."""
    for unit in ("TB", "TiB", "GB", "GiB", "MB", "MiB", "kB", "KiB"):
        if size_bytes and size_bytes % UNITS_BYTES[unit] == 0:
            return f"{size_bytes // UNITS_BYTES[unit]}{unit}"
    return f"{size_bytes}B"


def _named(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        text = value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + "..."
        return f"'{text}'"
    return f"a {type(value).__name__}"


def _unit_hint(value: str, unit: str) -> str:
    try:
        float(value)
    except ValueError:
        return ""
    return f"; a number needs a unit: {value.strip()}{unit}"
