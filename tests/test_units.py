"""Durations and rates: exact both ways, and clear where they are not understood."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.units import (
    HIGHEST_HZ,
    HIGHEST_PER_HOUR,
    LONGEST_NS,
    MOST_BYTES,
    UNITS_NS,
    format_duration,
    format_memory,
    format_price,
    format_rate,
    parse_duration,
    parse_memory,
    parse_price,
    parse_rate,
)


@given(st.integers(0, LONGEST_NS))
def test_every_duration_survives_being_written(duration_ns: int) -> None:
    assert parse_duration(format_duration(duration_ns)) == duration_ns


@given(st.floats(0, HIGHEST_HZ))
def test_every_rate_survives_being_written(rate_hz: float) -> None:
    assert parse_rate(format_rate(rate_hz)) == rate_hz


@given(
    st.decimals(0, 1000, places=3, allow_nan=False, allow_infinity=False),
    st.sampled_from(["us", "ms", "s", "min", "h"]),
)
def test_decimals_are_read_without_rounding(number: object, unit: str) -> None:
    assert parse_duration(f"{number}{unit}") == Fraction(str(number)) * UNITS_NS[unit]


@given(st.integers(1, LONGEST_NS))
def test_no_thousands_of_a_unit_below_a_second_are_written(duration_ns: int) -> None:
    number, unit = re.fullmatch(r"([0-9.]+)([a-z]+)", format_duration(duration_ns)).groups()  # type: ignore[union-attr]
    assert Fraction(number) >= 1
    assert Fraction(number) < 1000 or unit not in ("ns", "us", "ms")


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("2ms", 2_000_000),
        ("350us", 350_000),
        ("350µs", 350_000),
        ("1.5s", 1_500_000_000),
        (" 10 ms ", 10_000_000),
        ("10m", 600_000_000_000),
        ("10min", 600_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1d", 86_400_000_000_000),
        ("100ns", 100),
        ("1e3us", 1_000_000),
        ("0.000001ms", 1),
        ("3650d", LONGEST_NS),
        ("-0ms", 0),
        ("0", 0),
        (0, 0),
        (0.0, 0),
    ],
)
def test_durations(text: object, duration_ns: int) -> None:
    assert parse_duration(text) == duration_ns


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0ms"),
        (1, "1ns"),
        (100_000, "100us"),
        (350_000, "350us"),
        (2_000_000, "2ms"),
        (1_500_000, "1.5ms"),
        (9_610_000, "9.61ms"),
        (12_690_000, "12.69ms"),
        (1_234_567, "1.234567ms"),
        (1_500_000_000, "1.5s"),
        (90_000_000_000, "90s"),
        (3_600_000_000_000, "1h"),
        (86_400_000_000_000, "1d"),
        (86_400_100_000_000, "86400.1s"),
        (LONGEST_NS, "3650d"),
    ],
)
def test_how_durations_are_written(duration_ns: int, text: str) -> None:
    assert format_duration(duration_ns) == text


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (5, "needs a unit: write 5ms or 5s, not 5"),
        (2.5, "needs a unit: write 2.5ms or 2.5s, not 2.5"),
        ("5", "must be a duration such as 2ms, 350us or 1.5s, not '5'; a number needs a unit: 5ms"),
        ("2 weeks", "must be a duration such as 2ms, 350us or 1.5s, not '2 weeks'"),
        ("", "must be a duration such as 2ms, 350us or 1.5s, not ''"),
        (".5ms", "must be a duration such as 2ms, 350us or 1.5s, not '.5ms'"),
        ("1/s", "must be a duration such as 2ms, 350us or 1.5s, not '1/s'"),
        ("-2ms", "must not be negative, but is -2ms"),
        ("0.5ns", "must be a whole number of nanoseconds, which 0.5ns is not"),
        ("3651d", "must be at most 3650d, not 3651d"),
        ("1e999s", "must be at most 3650d, not 1e999s"),
        (None, "must be a duration such as 2ms, not nothing"),
        (True, "must be a duration such as 2ms, not a bool"),
        ([1], "must be a duration such as 2ms, not a list"),
    ],
)
def test_what_is_no_duration(found: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_duration(found)
    assert str(caught.value) == message


def test_a_number_of_a_million_digits_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"^must be a duration .* not '9{64}\.\.\.'"):
        parse_duration("9" * 1_000_000 + "ms")


@pytest.mark.parametrize(
    ("text", "rate_hz"),
    [
        ("800/s", 800.0),
        ("12/m", 0.2),
        ("12/min", 0.2),
        ("3600/h", 1.0),
        ("0.5 / ms", 500.0),
        ("0/s", 0.0),
    ],
)
def test_rates(text: str, rate_hz: float) -> None:
    assert parse_rate(text) == rate_hz


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (800, "needs a unit: write 800/s, not 800"),
        (
            "800",
            "must be a rate such as 800/s, 12/min or 3600/h, not '800'; a number needs a unit: 800/s",
        ),
        ("800ms", "must be a rate such as 800/s, 12/min or 3600/h, not '800ms'"),
        ("-1/s", "must not be negative, but is -1/s"),
        ("2/ns", "must be at most 1000000000/s, not 2/ns"),
        (None, "must be a rate such as 800/s, not nothing"),
    ],
)
def test_what_is_no_rate(found: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_rate(found)
    assert str(caught.value) == message


@given(st.integers(0, MOST_BYTES))
def test_every_amount_of_memory_survives_being_written(size_bytes: int) -> None:
    assert parse_memory(format_memory(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("300MB", 3 * 10**8), ("4GiB", 2**32), (" 1.5 kB ", 1500), ("0B", 0), ("1TiB", 2**40)],
)
def test_amounts_of_memory(text: str, size_bytes: int) -> None:
    assert parse_memory(text) == size_bytes


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (300, "needs a unit: write 300MB, not 300"),
        (
            "300",
            "must be a memory such as 300MB or 4GiB, not '300'; a number needs a unit: 300MB",
        ),
        ("3 mb", "must be a memory such as 300MB or 4GiB, not '3 mb'"),
        ("-1MB", "must not be negative, but is -1MB"),
        ("0.3B", "must be a whole number of bytes, which 0.3B is not"),
        ("2000TiB", "must be at most 1024TiB, not 2000TiB"),
        (None, "must be a memory such as 300MB or 4GiB, not nothing"),
    ],
)
def test_amounts_of_memory_that_are_not_understood(value: object, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_memory(value)


@given(st.floats(0, HIGHEST_PER_HOUR))
def test_every_price_survives_being_written(per_hour: float) -> None:
    assert parse_price(format_price(per_hour)) == per_hour


@pytest.mark.parametrize(
    ("text", "per_hour"),
    [("0.6/h", 0.6), ("14.4/d", 0.6), ("1/min", 60.0), ("0/h", 0.0), (" 2 / h ", 2.0)],
)
def test_prices(text: str, per_hour: float) -> None:
    assert parse_price(text) == per_hour


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.6, "needs a unit: write 0.6/h, not 0.6"),
        ("0.6", "must be a price such as 0.6/h or 14.4/d, not '0.6'; a number needs a unit: 0.6/h"),
        ("0.6 EUR/h", "must be a price such as 0.6/h or 14.4/d, not '0.6 EUR/h'"),
        ("-1/h", "must not be negative, but is -1/h"),
        ("1e9/s", "must be at most 1000000000/h, not 1e9/s"),
        (None, "must be a price such as 0.6/h or 14.4/d, not nothing"),
    ],
)
def test_prices_that_are_not_understood(value: object, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_price(value)
