"""Arrival processes against theory: moments, distributions, exactness, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from policies.runlog import Int64
from policies.workload import ClosedWorkload, Workload
from sim.arrivals.base import NS_PER_S, ArrivalProcess
from sim.arrivals.closed import Closed
from sim.arrivals.constant import Constant
from sim.arrivals.counts import Counts
from sim.arrivals.diurnal import Diurnal
from sim.arrivals.gamma import Gamma
from sim.arrivals.mmpp import Mmpp
from sim.arrivals.poisson import Poisson
from sim.items.uniform import Uniform
from sim.streams import stream
from sim.workload import draw_workload

MS = 1_000_000
BURSTY = Mmpp((200.0, 0.0, 4_000.0), (40 * MS, 15 * MS, 10 * MS))
ENDLESS: list[ArrivalProcess] = [
    Poisson(800.0),
    Constant(300.0),
    Gamma(500.0, 3.0),
    Gamma(500.0, 0.2),
    BURSTY,
    Diurnal(700.0, 1.0, period_ns=NS_PER_S, phase=0.25),
]
ALL: list[ArrivalProcess] = [*ENDLESS, Counts(20 * MS, tuple(range(40)) * 5)]


def rng(seed: int = 1) -> np.random.Generator:
    return stream(seed, 0, "arrivals")


def times(process: ArrivalProcess, requests: int, seed: int = 1) -> Int64:
    return process.times_ns(rng(seed), requests, None)


def counts_in(times_ns: Int64, window_ns: int) -> Int64:
    """Requests in each whole window."""
    whole = int(times_ns[-1]) // window_ns
    edges = np.arange(whole + 1, dtype=np.int64) * window_ns
    return np.diff(np.searchsorted(times_ns, edges))


@given(
    process=st.sampled_from(ALL),
    requests=st.one_of(st.none(), st.integers(0, 3_000)),
    duration_ns=st.one_of(st.none(), st.integers(0, 3 * NS_PER_S)),
)
@settings(deadline=None, max_examples=150)
def test_bounds_only_cut_one_and_the_same_sequence(
    process: ArrivalProcess, requests: int | None, duration_ns: int | None
) -> None:
    if requests is None and duration_ns is None:
        requests = 100
    longest = process.times_ns(rng(), 20_000, None)
    found = process.times_ns(rng(), requests, duration_ns)
    expected = longest if requests is None else longest[:requests]
    if duration_ns is not None:
        expected = expected[expected < duration_ns]
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


@given(st.sampled_from(ALL), st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_times_are_sorted_from_zero_on(process: ArrivalProcess, seed: int) -> None:
    found = times(process, 2_000, seed)
    assert found[0] >= 0
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("process", ENDLESS, ids=lambda p: p.kind)
def test_an_endless_process_needs_a_bound(process: ArrivalProcess) -> None:
    with pytest.raises(ValueError, match="give `requests`, `duration` or both"):
        process.times_ns(rng(), None, None)


@pytest.mark.parametrize("process", ALL, ids=lambda p: p.kind)
def test_the_long_run_rate_is_the_mean_rate_also_when_scaled(process: ArrivalProcess) -> None:
    for each in (process, process.scaled(3.0), process.scaled(0.5)):
        rate_hz = each.mean_rate_hz()
        found = each.times_ns(rng(), 200_000, None)
        observed_hz = (len(found) - 1) * NS_PER_S / int(found[-1])
        assert observed_hz == pytest.approx(rate_hz, rel=0.06)
    assert process.scaled(3.0).mean_rate_hz() == pytest.approx(3 * process.mean_rate_hz())


@pytest.mark.parametrize("process", ALL, ids=lambda p: p.kind)
@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
def test_a_factor_that_scales_nothing_is_refused(process: ArrivalProcess, factor: float) -> None:
    with pytest.raises(ValueError, match="must be above 0 and finite"):
        process.scaled(factor)


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(times(Poisson(800.0), 100_000))
    assert stats.kstest(gaps, "expon", args=(0, NS_PER_S / 800)).pvalue > 0.01


def test_poisson_counts_have_dispersion_one_and_no_memory() -> None:
    counts = counts_in(times(Poisson(800.0), 200_000), 10 * MS)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(counts[1:], counts[:-1])[0, 1]) < 0.03


@pytest.mark.parametrize("cv", [0.2, 1.0, 1.5])
def test_gamma_gaps_have_the_mean_and_the_cv(cv: float) -> None:
    gaps = np.diff(times(Gamma(500.0, cv), 300_000)).astype(float)
    assert gaps.mean() == pytest.approx(NS_PER_S / 500, rel=5 * cv / math.sqrt(300_000))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)
    shape = 1 / cv**2
    scale = NS_PER_S / 500 / shape
    assert stats.kstest(gaps, "gamma", args=(shape, 0, scale)).pvalue > 0.01


def test_constant_arrivals_do_not_drift() -> None:
    # A third of a second has no float: rounding each gap would be 0.3 s off by the end.
    found = times(Constant(3e6), 3_000_001)
    assert found[0] == 0
    assert found[3_000_000] == NS_PER_S
    assert set(np.diff(found).tolist()) == {333, 334}


def test_gaps_below_the_clock_are_not_clamped() -> None:
    # One arrival a nanosecond on average: the next rounds to the same one with chance 1/e, since the
    # rest of the present one is uniform in (0, 1), and the integral of 1 - exp(-r) over it is 1/e.
    found = times(Poisson(1e9), 100_000)
    assert (np.diff(found) == 0).mean() == pytest.approx(math.exp(-1), abs=0.01)
    assert found[-1] == pytest.approx(100_000, rel=0.02)


def test_mmpp_dispersion_grows_as_theory_says() -> None:
    """Index of dispersion of counts of a stationary two-state MMPP (Fischer, Meier-Hellstern 1993):
    I(t) = 1 + 2 A (1 - (1 - exp(-s t)) / (s t)), A = q1 q2 (r1 - r2)^2 / (s^2 (r1 q2 + r2 q1)).
    """
    r1, r2, stay1_s, stay2_s = 3_000.0, 200.0, 0.010, 0.040
    process = Mmpp((r1, r2), (int(stay1_s * 1e9), int(stay2_s * 1e9)))
    found = times(process, 1_500_000)
    q1, q2 = 1 / stay1_s, 1 / stay2_s
    s = q1 + q2
    a = q1 * q2 * (r1 - r2) ** 2 / (s**2 * (r1 * q2 + r2 * q1))
    for window_s in (0.002, 0.010, 0.100):
        counts = counts_in(found, int(window_s * 1e9))
        theory = 1 + 2 * a * (1 - (1 - math.exp(-s * window_s)) / (s * window_s))
        assert counts.var() / counts.mean() == pytest.approx(theory, rel=0.05)


def test_mmpp_is_stationary_from_the_start() -> None:
    first = [len(BURSTY.times_ns(rng(seed), None, 5 * MS)) for seed in range(4_000)]
    expected = BURSTY.mean_rate_hz() * 0.005
    assert np.mean(first) == pytest.approx(
        expected, abs=4 * float(np.std(first)) / math.sqrt(4_000)
    )


def test_mmpp_is_poisson_where_its_rates_are_equal() -> None:
    gaps = np.diff(times(Mmpp((800.0, 800.0), (MS, 3 * MS)), 100_000))
    assert stats.kstest(gaps, "expon", args=(0, NS_PER_S / 800)).pvalue > 0.01


def test_nothing_arrives_in_a_silent_state() -> None:
    # States of 1 s on and 1 s off: the gaps across silences are as long as those.
    gaps = np.diff(times(Mmpp((1_000.0, 0.0), (NS_PER_S, NS_PER_S)), 60_000))
    silences = gaps[gaps > 20 * MS]
    assert 40 <= len(silences) <= 80
    assert silences.mean() == pytest.approx(NS_PER_S, rel=0.5)


def test_diurnal_counts_follow_the_curve_by_phase() -> None:
    process = Diurnal(2_000.0, 0.8, period_ns=NS_PER_S, phase=0.1)
    found = process.times_ns(rng(), None, 100 * NS_PER_S)
    observed = np.histogram(found % NS_PER_S, bins=20, range=(0, NS_PER_S))[0]
    edges = np.linspace(0, 1, 21)
    turn = 2 * math.pi
    integral = edges - 0.8 / turn * np.cos(turn * (edges + 0.1))
    expected = 2_000 * 100 * np.diff(integral)
    chi2 = float(((observed - expected) ** 2 / expected).sum())
    assert chi2 < stats.chi2.ppf(0.999, 20)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40).filter(any), st.integers(0, 99))
@settings(deadline=None)
def test_counts_put_exactly_so_many_into_each_interval(wanted: list[int], seed: int) -> None:
    found = Counts(7 * MS, tuple(wanted)).times_ns(rng(seed), None, None)
    np.testing.assert_array_equal(np.bincount(found // (7 * MS), minlength=len(wanted)), wanted)


def test_counts_are_uniform_within_an_interval() -> None:
    found = Counts(MS, (50,) * 2_000).times_ns(rng(), None, None)
    assert stats.kstest((found % MS) / MS, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Mmpp((1.0,), (1,)), "two states or more, not 1"),
        (lambda: Mmpp((1.0, 2.0), (1,)), "one entry a state each, not 2 and 1"),
        (lambda: Mmpp((0.0, 0.0), (1, 1)), "one above 0"),
        (lambda: Counts(MS), "`counts` or `path`"),
        (lambda: Counts(MS, (1,), Path("x.csv")), "`counts` or `path`"),
        (lambda: Counts(MS, (0, 0)), "all 0"),
        (lambda: Counts(MS, (2 * 10**9,)), "at most 1000000000"),
    ],
)
def test_knobs_that_contradict_each_other_are_named(
    make: Callable[[], ArrivalProcess], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_arrivals_that_would_outlast_the_clock_are_refused() -> None:
    with pytest.raises(ValueError, match="after 146 years"):
        Poisson(1e-9).times_ns(rng(), 1_000, None)
    assert len(Poisson(1e-9).times_ns(rng(), 1_000, NS_PER_S)) == 0


def open_workload(**changes: object) -> Workload:
    arguments: dict[str, object] = {"requests": 1_000, "seed": 3} | changes
    found = draw_workload(Poisson(800.0), Uniform(1, 50), **arguments)  # type: ignore[arg-type]
    assert isinstance(found, Workload)
    return found


def test_a_workload_has_a_row_a_request_and_is_a_function_of_its_seed() -> None:
    first, again = open_workload(deadline_after_ns=MS), open_workload(deadline_after_ns=MS)
    for column in ("arrival_ns", "deadline_ns", "items", "priority"):
        np.testing.assert_array_equal(getattr(first, column), getattr(again, column))
    np.testing.assert_array_equal(first.deadline_ns - first.arrival_ns, MS)
    assert (open_workload(seed=4).arrival_ns != first.arrival_ns).any()
    assert (open_workload(replication=1).arrival_ns != first.arrival_ns).any()


def test_each_part_of_a_workload_has_a_stream_of_its_own() -> None:
    plain, ranked = open_workload(), open_workload(priority_weights=(3.0, 1.0))
    np.testing.assert_array_equal(plain.arrival_ns, ranked.arrival_ns)
    np.testing.assert_array_equal(plain.items, ranked.items)
    assert plain.priority.max() == 0
    assert ranked.priority.mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("weights", [(-1.0, 2.0), (0.0, 0.0), (1.0,) * 200, (math.inf,)])
def test_priority_weights_that_mean_nothing_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="`priorities` takes up to 127 weights"):
        open_workload(priority_weights=weights)


def test_a_workload_without_a_request_is_refused() -> None:
    with pytest.raises(ValueError, match="no request arrives"):
        draw_workload(Poisson(1.0), None, duration_ns=1)


def test_closed_clients_think_as_told() -> None:
    found = draw_workload(Closed(8, 5 * MS), Uniform(2, 4), requests=50_000, seed=1)
    assert isinstance(found, ClosedWorkload)
    assert (found.clients, len(found), len(found.items)) == (8, 50_000, 50_000)
    assert stats.kstest(found.think_ns, "expon", args=(0, 5 * MS)).pvalue > 0.01
    steady = draw_workload(Closed(8, 5 * MS, "constant"), None, requests=10, deadline_after_ns=7)
    assert isinstance(steady, ClosedWorkload)
    assert steady.think_ns.tolist() == [5 * MS] * 10
    assert steady.deadline_after_ns == 7


def test_closed_clients_scale_by_thinking_faster_and_need_a_number_of_requests() -> None:
    assert Closed(8, 5 * MS).mean_rate_hz() == 1_600
    assert Closed(8, 5 * MS).scaled(2).mean_rate_hz() == 3_200
    assert Closed(8, 0).mean_rate_hz() == math.inf
    with pytest.raises(ValueError, match="closed arrivals need `requests`"):
        draw_workload(Closed(8, 5 * MS), None, duration_ns=NS_PER_S)
