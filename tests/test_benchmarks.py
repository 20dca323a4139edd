"""What the benchmarks measure with: turns and their ratios, processes and their memory."""

from __future__ import annotations

import sys

import pytest

from benchmarks import whole_process
from benchmarks.timing import Contender, Race, Spread, race

BALLAST = 400_000_000


def test_contenders_take_turns_after_a_call_each_that_is_not_timed() -> None:
    calls: list[str] = []
    contenders = [
        Contender("a", lambda: calls.append("a"), requests=10, calls=2),
        Contender("b", lambda: calls.append("b"), requests=10),
    ]
    raced = race(contenders, rounds=3)
    assert "".join(calls) == "ab" + 3 * "aab"
    assert {name: len(rates) for name, rates in raced.rates_hz.items()} == {"a": 3, "b": 3}


def test_ratios_are_taken_round_by_round() -> None:
    # The machine became ten times slower in the last round: the ratio did not change.
    raced = Race({"fast": [100.0, 120.0, 10.0], "slow": [50.0, 40.0, 5.0]})
    assert raced.ratio("fast", "slow") == Spread(median=2.0, min=2.0, max=3.0)


def test_the_peak_of_a_child_is_its_own() -> None:
    ballast = bytearray(BALLAST)
    child = "from benchmarks import whole_process; print(whole_process.peak_bytes())"
    ended = whole_process.run([sys.executable, "-c", child])
    assert 1_000_000 < int(ended.output) < BALLAST // 2
    assert whole_process.peak_bytes() > len(ballast)


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="no such pipeline"):
        whole_process.run([sys.executable, "-c", "raise SystemExit('no such pipeline')"])
