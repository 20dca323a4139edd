"""Intervals: against published tables, and against what they promise to cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.statistics import Interval, batch_means_interval, mean_interval, paired_interval

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


@given(VALUES, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_is_that_of_student(values: list[float], level: float) -> None:
    found = mean_interval(values, level)
    scale = float(stats.sem(values))
    low, high = stats.t.interval(level, len(values) - 1, np.mean(values), scale or 1e-300)
    assert found.estimate == pytest.approx(np.mean(values), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-6)
    assert found.level == level


def test_the_interval_of_a_textbook() -> None:
    # t of 9 degrees at 95% is 2.262 (any table); these ten have mean 5.5 and deviation 3.0277.
    found = mean_interval([float(k) for k in range(1, 11)])
    assert found.half_width == pytest.approx(2.262 * 3.0277 / math.sqrt(10), rel=1e-3)
    assert 5.5 in found
    assert 8.0 not in found


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = np.mean(
        [0.0 in mean_interval(rng.standard_normal(5).tolist(), 0.9) for _ in range(3_000)]
    )
    assert covered == pytest.approx(0.9, abs=0.02)


def test_pairs_cancel_what_both_sides_share() -> None:
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 100, 10)
    treated, control = (shared + 1).tolist(), (shared + rng.normal(0, 0.1, 10)).tolist()
    paired = paired_interval(treated, control)
    assert 1.0 in paired
    assert paired.half_width < mean_interval(treated).half_width / 100
    with pytest.raises(ValueError, match="not 10 and 9"):
        paired_interval(treated, control[:9])


def test_batch_means_see_through_correlation() -> None:
    """AR(1) with coefficient a: the variance of the mean is (1 + a) / (1 - a) times that of white noise."""
    rng = np.random.default_rng(5)
    a, n = 0.9, 40_000
    covered = 0
    widths = []
    for _ in range(100):
        noise = rng.standard_normal(n)
        series = _ar1(noise, a)
        found = batch_means_interval(series, batches=20)
        covered += 0.0 in found
        widths.append(found.half_width)
    assert covered >= 88
    true_error = math.sqrt(1 / (1 - a) ** 2 / n)
    assert np.mean(widths) == pytest.approx(2.093 * true_error, rel=0.1)


def _ar1(noise: np.ndarray[tuple[int], np.dtype[np.float64]], a: float) -> list[float]:
    from scipy.signal import lfilter

    return [float(x) for x in lfilter([1.0], [1.0, -a], noise)]


@pytest.mark.parametrize(
    ("values", "level", "says"),
    [
        ([1.0], 0.95, "2 replications or more, not 1"),
        ([1.0, math.nan], 0.95, "finite values"),
        ([1.0, 2.0], 1.0, "level must lie between 0 and 1, not 1.0"),
    ],
)
def test_what_has_no_interval_is_refused(values: list[float], level: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mean_interval(values, level)


def test_too_short_a_series_has_no_batches() -> None:
    with pytest.raises(ValueError, match="20 batches need 40 values or more, not 39"):
        batch_means_interval([0.0] * 39)
    with pytest.raises(ValueError, match="batches must be 2 or more, not 1"):
        batch_means_interval([0.0] * 39, batches=1)
    assert batch_means_interval([1.0] * 40) == Interval(1.0, 1.0, 1.0, 0.95)
