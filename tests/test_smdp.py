"""The optimum of one stage against closed forms, exhaustive search and plain value iteration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import queueing
from policies.control_limit import best_limit
from policies.limits import limit_table, paid_by_limit
from policies.smdp_model import (
    BatchQueue,
    Float64,
    TooLargeError,
    UnstableError,
    Weights,
    gamma_queue,
    mixture_queue,
)
from policies.smdp_solver import GAP, OVERFLOW, evaluate, solve


def affine(rate: float, alpha: float, tau: float, cap: int, cv: float = 0.0) -> BatchQueue:
    """Batches of b take alpha b + tau on average."""
    return gamma_queue(rate, np.array([alpha * b + tau for b in range(cap + 1)]), cv)


def greedy(cap: int) -> tuple[int, ...]:
    """Send all that fits."""
    return tuple(range(cap + 1))


queues = st.builds(
    lambda load, alpha, tau, cap, cv: affine(load / (alpha + tau / cap), alpha, tau, cap, cv),
    load=st.floats(0.05, 0.8),
    alpha=st.floats(0.1, 2),
    tau=st.floats(0.1, 2),
    cap=st.integers(1, 5),
    cv=st.sampled_from([0.0, 0.5, 1.0]),
)
weights = st.builds(
    Weights,
    latency=st.floats(0.1, 2),
    busy=st.floats(0, 5),
    batch_s=st.floats(0, 5),
    excess=st.floats(0, 2),
    objective_s=st.floats(0.5, 5),
)


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 1.5])
def test_single_requests_are_an_mg1_queue(cv: float) -> None:
    found = evaluate(gamma_queue(0.6, np.array([0, 1.0]), cv), (0, 1))
    assert found.latency_s == pytest.approx(queueing.pollaczek_khinchine_wait(0.6, 1, cv) + 1)
    assert (found.busy_s, found.batches) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(
    ("rate", "alpha", "tau", "cap"),
    [(0.5, 1, 1, 64), (0.8, 1, 1, 128), (3, 0.143, 1.874, 64), (0.5, 1, 1, 4)],
)
def test_greedy_batches_have_the_latency_of_their_chain(
    rate: float, alpha: float, tau: float, cap: int
) -> None:
    exact = queueing.greedy_mean_latency(rate, lambda b: alpha * b + tau, cap)
    assert evaluate(affine(rate, alpha, tau, cap), greedy(cap)).latency_s == pytest.approx(exact)


@pytest.mark.parametrize(
    ("rate", "mu", "least", "cap"), [(3.0, 1.0, 4, 8), (1.0, 0.5, 1, 4), (0.5, 1.0, 3, 6)]
)
def test_a_limit_with_exponential_service_has_the_wait_of_bulk_service(
    rate: float, mu: float, least: int, cap: int
) -> None:
    queue = gamma_queue(rate, np.full(cap + 1, 1 / mu), 1.0)
    latency = evaluate(queue, limit_table(least, cap)).latency_s
    assert latency == pytest.approx(queueing.bulk_wait(rate, mu, least, cap) + 1 / mu)


def by_markov_chain(rate: float, mean_s: Float64, table: tuple[int, ...], states: int) -> float:
    """Mean latency with exponential service, from the chain in continuous time: states are how many wait
    and the batch that is under way, with at most ``states`` waiting.
    """

    def after(n: int, b: int) -> tuple[int, int]:
        """The state that follows once the policy has been asked."""
        told = table[min(n, len(table) - 1)] if b == 0 else 0
        return (n - told, told) if told else (n, b)

    flows: dict[tuple[int, int], list[tuple[tuple[int, int], float]]] = {}
    found = [(0, 0)]
    for n, b in found:
        flows[n, b] = [(after(n + 1, b), rate)] if n < states else []
        if b:
            flows[n, b].append((after(n, 0), 1 / mean_s[b]))
        found += [to for to, _ in flows[n, b] if to not in found]
    index = {state: i for i, state in enumerate(found)}
    generator = np.zeros((len(found), len(found)))
    for state, leads in flows.items():
        for to, hz in leads:
            generator[index[state], index[to]] += hz
            generator[index[state], index[state]] -= hz
    generator[:, 0] = 1.0
    law = np.linalg.solve(generator.T, np.eye(len(found))[0])
    return float(law @ np.array([n + b for n, b in found])) / rate


@settings(max_examples=15)
@given(data=st.data())
def test_any_table_with_exponential_service_is_a_markov_chain(data: st.DataObject) -> None:
    cap = data.draw(st.integers(1, 3))
    mean_s = np.array([0.0, *(data.draw(st.floats(0.5, 1.5)) for _ in range(cap))])
    waits = data.draw(st.integers(1, cap))
    sent = [0 if n < waits else data.draw(st.integers(1, n)) for n in range(cap)]
    table = (*sent, cap)
    rate = 0.3 * cap / mean_s[cap]  # a queue of 60 is next to never seen
    found = evaluate(gamma_queue(rate, mean_s, 1.0), table).latency_s
    assert found == pytest.approx(by_markov_chain(rate, mean_s, table, 60), rel=1e-6)


def value_iteration(queue: BatchQueue, paid: Weights, states: int) -> float:
    """The least cost of a request by relative value iteration after the data transformation, an entry at a
    time, as in Tijms (2003), section 7.4.
    """
    kept = queue.counts.shape[1]
    beyond = 1 - np.cumsum(queue.counts, axis=1)
    soon = queue.rate_hz * paid.objective_s

    def held(n: int) -> float:
        return paid.latency * n + paid.excess * max(n - soon, 0.0)

    choices = []
    for n in range(states + 1):
        here = []
        if n < queue.max_batch:
            here.append((1 / queue.rate_hz, held(n) / queue.rate_hz, np.eye(states + 1)[n + 1]))
        for b in range(1, min(n, queue.max_batch) + 1):
            to = np.zeros(states + 1)
            np.add.at(to, np.minimum(n - b + np.arange(kept), states), queue.counts[b])
            cost = sum(held(n + k) * beyond[b, k] for k in range(kept)) / queue.rate_hz
            cost += paid.busy * queue.mean_s[b] + paid.batch_s
            here.append((queue.mean_s[b], cost, to))
        choices.append(here)
    step = 0.9 * min(duration for here in choices for duration, _, _ in here)
    values = np.zeros(states + 1)
    for _ in range(200_000):
        better = np.array(
            [
                min(
                    cost / duration + step / duration * (to @ values - values[n]) / step
                    for duration, cost, to in here
                )
                for n, here in enumerate(choices)
            ]
        )
        if np.ptp(better) < 1e-7 * better.max():
            return float(better.mean()) / queue.rate_hz
        values = values + step * better
        values -= values[0]
    raise AssertionError("value iteration did not end")


@pytest.mark.parametrize("cv", [0.0, 1.0])
def test_plain_relative_value_iteration_finds_the_same_cost(cv: float) -> None:
    queue = affine(0.4, 0.5, 1.0, 3, cv)
    paid = Weights(latency=1, busy=2, batch_s=0.5, excess=0.5, objective_s=3)
    assert solve(queue, paid).paid_s == pytest.approx(value_iteration(queue, paid, 40), rel=1e-5)


@settings(max_examples=40)
@given(queues, weights, st.data())
def test_no_table_costs_less_than_the_optimum(
    queue: BatchQueue, paid: Weights, data: st.DataObject
) -> None:
    found = solve(queue, paid)
    cap = queue.max_batch
    table = [0, *(data.draw(st.integers(0, min(n, cap))) for n in range(1, 2 * cap)), cap]
    other = paid.paid_s(evaluate(queue, table, paid.objective_s))
    assert found.paid_s <= other * (1 + 2 * GAP)


@settings(max_examples=40)
@given(queues, weights)
def test_the_optimum_is_what_its_table_reaches(queue: BatchQueue, paid: Weights) -> None:
    found = solve(queue, paid)
    again = evaluate(queue, found.table, paid.objective_s)
    assert paid.paid_s(again) == pytest.approx(found.paid_s, rel=1e-7)
    assert found.least_s == pytest.approx(found.paid_s, rel=2 * GAP)
    assert found.overflow <= OVERFLOW
    assert all(sent <= min(n, queue.max_batch) for n, sent in enumerate(found.table))


@settings(max_examples=15)
@given(
    cap=st.integers(2, 6),
    load=st.floats(0.1, 0.8),
    cv=st.sampled_from([0.0, 0.5, 1.0]),
    batch_s=st.floats(0, 20),
)
def test_the_optimum_is_a_control_limit_where_size_costs_no_time(
    cap: int, load: float, cv: float, batch_s: float
) -> None:
    """Deb and Serfozo (1973); the limits are compared by trying all."""
    queue = gamma_queue(load * cap, np.ones(cap + 1), cv)
    paid = Weights(batch_s=batch_s)
    found = solve(queue, paid)
    tried = {q: paid.paid_s(evaluate(queue, limit_table(q, cap))) for q in range(1, cap + 1)}
    assert found.paid_s == pytest.approx(min(tried.values()), rel=1e-8)
    assert paid_by_limit(queue, paid) == pytest.approx(list(tried.values()), rel=1e-7)
    limit = next(n for n, sent in enumerate(found.table) if sent)
    assert all(sent == (min(n, cap) if n >= limit else 0) for n, sent in enumerate(found.table))
    assert tried[limit] == pytest.approx(tried[best_limit(queue, paid)], rel=1e-8)


def test_the_best_limit_grows_with_the_cost_of_a_batch() -> None:
    queue = gamma_queue(3.0, np.ones(9), 0.0)
    limits = [best_limit(queue, Weights(batch_s=cost)) for cost in (0, 1, 3, 10, 30)]
    assert limits == sorted(limits)
    assert limits[0] < 3
    assert limits[-1] == 8


def test_large_batches_are_not_always_taken_whole() -> None:
    """Where a batch grows by as much as a request costs alone, small ones get answers out earlier."""
    found = solve(affine(0.5, 1, 1, 64), Weights())
    assert found.paid_s < evaluate(affine(0.5, 1, 1, 64), greedy(64)).latency_s
    assert max(found.table[:20]) < 19


def test_a_mixture_of_times_is_the_law_that_it_stands_for() -> None:
    mean_s = np.array([0, 1.0, 1.5])
    times_s, shares = np.vstack([0.5 * mean_s, 2 * mean_s]), np.array([2 / 3, 1 / 3])
    found = evaluate(mixture_queue(0.5, times_s, shares), (0, 1))
    cv = np.sqrt(2 / 3 * 0.25 + 1 / 3 * 4 - 1)
    assert found.latency_s == pytest.approx(queueing.pollaczek_khinchine_wait(0.5, 1, cv) + 1)


def test_excess_is_what_the_law_of_the_queue_says() -> None:
    """M/M/1: P(N = n) = (1 - rho) rho^n, so E[(N - 2)+] = rho^3 / (1 - rho)."""
    found = evaluate(gamma_queue(0.5, np.array([0, 1.0]), 1.0), (0, 1), objective_s=4.0)
    assert found.excess_s == pytest.approx(0.5**3 / (1 - 0.5) / 0.5)


def test_states_are_added_near_full_load() -> None:
    found = solve(affine(0.97, 1.0, 0.001, 1), Weights())
    assert found.overflow <= OVERFLOW
    assert found.states > 200
    assert found.paid_s == pytest.approx(
        queueing.pollaczek_khinchine_wait(0.97, 1.001, 0) + 1.001, rel=1e-6
    )


def test_larger_batches_than_serve_most_are_not_where_the_search_begins() -> None:
    """Batches of 4 serve 0.8 a second, of 2 as many as 1.67."""
    found = solve(gamma_queue(1.5, np.array([0, 1.0, 1.2, 3.0, 5.0]), 0.0), Weights())
    assert found.overflow <= OVERFLOW
    assert max(found.table) == 2


def test_what_has_no_optimum_is_told() -> None:
    with pytest.raises(UnstableError, match=r"2\.0 requests/s come and at most 1\.6/s"):
        affine(2, 0.5, 0.5, 4)
    with pytest.raises(UnstableError, match=r"batches of 1 serve 1\.0/s"):
        evaluate(affine(1.2, 0.5, 0.5, 4), (0, 1))
    with pytest.raises(TooLargeError, match="lower the rate, max_batch or the variation"):
        solve(affine(0.99999, 1.0, 1e-9, 1, 1.0), Weights())
    with pytest.raises(TooLargeError, match=r"a table of 65 batch sizes by [\d,]+ queue lengths"):
        gamma_queue(1.0, np.ones(65), 2000.0)
    with pytest.raises(ValueError, match="take no time"):
        gamma_queue(1.0, np.zeros(3), 0.0)
    with pytest.raises(ValueError, match="busy must be 0 or more, not -1"):
        Weights(busy=-1)
    with pytest.raises(ValueError, match="all weights are 0"):
        Weights(latency=0)
