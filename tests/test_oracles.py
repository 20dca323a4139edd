"""Queueing theory as the oracle: the simulator's means inside the intervals of replicated runs."""

from __future__ import annotations

import pytest

from benchmarks import queueing
from benchmarks.oracles import Oracle, oracles


@pytest.mark.parametrize("oracle", list(oracles()), ids=lambda oracle: oracle.name)
def test_the_simulator_meets_theory(oracle: Oracle) -> None:
    interval = oracle.measure(requests=16_000, replications=10, level=0.99)
    assert oracle.exact in interval
    # An interval that is too wide would contain anything.
    assert interval.half_width < 0.2 * oracle.exact


def test_closed_forms_agree_with_published_values() -> None:
    def unit(size: int) -> float:
        return size + 1.0

    assert queueing.greedy_mean_latency(0.5, unit, 10**6) == pytest.approx(4.41736, abs=1e-5)
    assert queueing.greedy_mean_latency(0.8, unit, 10**6) == pytest.approx(11.33610, abs=1e-5)
    assert queueing.greedy_mean_latency(0.5, unit, 4) == pytest.approx(4.41915, abs=1e-5)
    assert queueing.bulk_wait(3, 1, 4, 8) == pytest.approx(0.95451, abs=1e-5)
    assert queueing.bulk_wait(1, 0.5, 1, 4) == pytest.approx(2.53687, abs=1e-5)
    assert queueing.erlang_c_wait(3.4, 1, 4) == pytest.approx(1.14886, abs=1e-5)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8, 0.95])
def test_the_published_bound_lies_above_the_exact_mean(rate: float) -> None:
    exact = queueing.greedy_mean_latency(rate, lambda size: size + 1.0, 10**6, states=800)
    assert exact <= queueing.greedy_latency_bound(rate, 1, 1) < 1.5 * exact
