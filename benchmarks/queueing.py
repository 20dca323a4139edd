"""Closed forms and exact chains of queueing theory. Times in seconds, rates per second."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.stats import poisson


def greedy_mean_latency(
    rate: float, service: Callable[[int], float], cap: int, states: int = 400
) -> float:
    """Poisson arrivals, one replica that takes up to ``cap`` of what waits whenever it is free.

    The number n left waiting at completions is a Markov chain: b = min(max(n, 1), cap) are served in
    l(b) while N ~ Poisson(rate * l(b)) come, and n' = max(n, 1) - b + N. With pi its stationary law,
    the mean number in system is L = E[max(n,1) l + rate l^2 / 2] / E[l + [n = 0] / rate], and the mean
    latency L / rate (Little). ``states`` truncates the chain.
    """
    n = np.arange(states)
    batch = np.minimum(np.maximum(n, 1), cap)
    time = np.array([service(int(b)) for b in batch])
    left = np.maximum(n, 1) - batch
    chain = np.zeros((states, states))
    for state in range(states):
        start = left[state]
        chain[state, start:] = poisson.pmf(np.arange(states - start), rate * time[state])
        chain[state, -1] += 1 - chain[state].sum()
    law = np.linalg.solve(
        np.vstack([(chain.T - np.eye(states))[:-1], np.ones(states)]), np.eye(states)[-1]
    )
    number = law @ (np.maximum(n, 1) * time + rate * time**2 / 2)
    length = law @ time + law[0] / rate
    return float(number / length / rate)


def greedy_latency_bound(rate: float, alpha: float, tau: float) -> float:
    """Upper bound of the above without a cap, for l(b) = alpha b + tau (Inoue 2021, min of phi_0, phi_1)."""
    rho = rate * alpha
    phi_0 = (alpha + tau) / (2 * (1 - rho)) * (1 + 2 * rate * tau + (1 - rate * tau) / (1 + rho))
    phi_1 = 3 * tau / (2 * (1 - rho)) + alpha / 2 * (rho + 2) / (1 - rho**2)
    return min(phi_0, phi_1)


def hold_batch_and_wait(rate: float, delay: float, size: int) -> tuple[float, float]:
    """Mean batch and mean wait of a hold for ``delay`` or ``size``, with a replica always free.

    With N ~ Poisson(rate * delay): E[B] = 1 + sum_{m<size} P(N >= m), and E[wait] =
    sum_{m<size} m P(N >= m) / (rate E[B]): a batch that reaches m + 1 requests has waited for the gap
    before each, and m waited through it.
    """
    m = np.arange(1, size)
    tail = poisson.sf(m - 1, rate * delay)
    batch = 1 + tail.sum()
    return float(batch), float((m * tail).sum() / (rate * batch))


def bulk_wait(rate: float, mu: float, least: int, cap: int) -> float:
    """Mean wait of M/M^(a,K)/1: serve when at least a wait, at most K, at rate mu whatever the batch.

    Balance gives p(busy, n) = C r^n with mu r^{K+1} - (rate + mu) r + rate = 0, and p(idle, j) =
    (mu / rate) sum_{i <= j} p(busy, i) for j < a; Wq = Lq / rate.
    """

    def balance(r: float) -> float:
        return mu * r ** (cap + 1) - (rate + mu) * r + rate

    r = float(brentq(balance, 1e-12, 1 - 1e-9))
    j = np.arange(least)
    idle = mu / rate * (1 - r ** (j + 1)) / (1 - r)
    scale = 1 / (1 / (1 - r) + idle.sum())
    waiting = scale * (r / (1 - r) ** 2 + (j * idle).sum())
    return float(waiting / rate)


def erlang_c_wait(rate: float, mu: float, servers: int) -> float:
    """Mean wait of M/M/c (Erlang C)."""
    load = rate / mu
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    total = sum(load**k / math.factorial(k) for k in range(servers)) + last
    return last / total / (servers * mu - rate)


def pollaczek_khinchine_wait(rate: float, mean: float, cv: float) -> float:
    """Mean wait of M/G/1: rate E[S^2] / (2 (1 - rho))."""
    return rate * mean**2 * (1 + cv**2) / (2 * (1 - rate * mean))


def fork_join_latency(rate: float, mu: float) -> float:
    """Mean response of two M/M/1 in parallel, joined (Flatto and Hahn): (12 - rho) / 8 / (mu - rate)."""
    return (12 - rate / mu) / 8 / (mu - rate)


def harmonic(n: int) -> float:
    """H_n: the mean of the largest of n standard exponentials."""
    return sum(1 / k for k in range(1, n + 1))
