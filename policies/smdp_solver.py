"""The optimum of one stage, by relative value iteration with each policy evaluated exactly.

With V the relative values, a state n and an action b (send b, or 0: wait for one more) of mean duration
t(n, b) and mean cost c(n, b), the data transformation of Schweitzer makes a Markov decision process of the
semi-Markov one, and a step of relative value iteration computes for each state

    D(n) = min_b [c(n, b) + E V(n') - V(n)] / t(n, b),    with    min D <= optimal cost a second <= max D

(Puterman, "Markov Decision Processes", 1994, sections 8.5 and 11.4; Tijms, "A First Course in Stochastic
Models", 2003, sections 6.6 and 7.4, for the bounds). Value iteration alone needs many steps near full load;
here V is that of the policy found last, from its linear equations, which is Newton's method for the same
equation (Puterman, 8.6), and ends with the bounds together after a few steps. Xu, Zhou and Niu, "SMDP-based
dynamic batching for efficient inference on GPU-based platforms" (arXiv 2301.12865) solve the same process.

Queues beyond ``states`` are counted as ``states``; their chance, ``overflow``, is kept below OVERFLOW by
taking more states. Waiting with ``max_batch`` or more in the queue is left out, as it is never better: send
now what would be sent after the next arrival, and wait for an arrival afterwards. The queue is the same at
the end of both, and in between those that were sent are gone earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.smdp_model import (
    MOST_CELLS,
    BatchQueue,
    Figures,
    Float64,
    TooLargeError,
    UnstableError,
    Weights,
    check_stable,
)

Int64 = NDArray[np.int64]

OVERFLOW = 1e-9
"""Chance of a queue beyond those that are told apart that is let pass."""
GAP = 1e-9
"""Relative distance of the bounds at which the iteration ends."""
MOST_STEPS = 200


@dataclass(frozen=True, slots=True)
class Optimum:
    """An optimal policy and what it reaches."""

    table: tuple[int, ...]
    """For a queue of n how many to send, 0 for waiting; the last for all beyond."""
    figures: Figures
    paid_s: float
    """What a request costs, in seconds."""
    least_s: float
    """No policy pays less: the lower bound of the last step."""
    states: int
    overflow: float
    steps: int


def solve(queue: BatchQueue, weights: Weights) -> Optimum:
    """The optimum. Raises UnstableError, and TooLargeError where too many states are needed."""
    check_stable(queue)
    states = first_states(queue)
    while True:
        found = _solve(Process(queue, weights, states))
        if found.overflow <= OVERFLOW:
            return found
        states = more_states(states, found.overflow)


def evaluate(queue: BatchQueue, table: Sequence[int], objective_s: float = 0.0) -> Figures:
    """The figures of the policy that a table describes, in the steady state; the excess is over what
    comes in ``objective_s``. Raises as :func:`solve` does.
    """
    last = min(table[-1], queue.max_batch) or queue.max_batch
    if queue.rate_hz * queue.mean_s[last] >= last:
        raise UnstableError(
            f"no steady state: {queue.rate_hz:,.1f} requests/s come and batches of {last} serve"
            f" {last / queue.mean_s[last]:,.1f}/s"
        )
    states = max(first_states(queue), 2 * len(table))
    while True:
        process = Process(queue, Weights(1.0, objective_s=objective_s), states)
        chain = Chain(process, process.actions_of(table))
        if chain.overflow <= OVERFLOW:
            return chain.figures()
        states = more_states(states, chain.overflow)


def first_states(queue: BatchQueue) -> int:
    """How many states to begin with: as the tail needs in heavy traffic, where a queue that loses b (1 -
    load) requests a batch, in batches of the size b that suits it best, and gains them with variance v,
    is longer than n with a chance of exp(-2 b (1 - load) n / v).
    """
    sizes, kept = queue.counts.shape
    b = 1 + int((queue.mean_s[1:] / np.arange(1, sizes)).argmin())
    k = np.arange(kept)
    variance = float(queue.counts[b] @ k**2 - (queue.counts[b] @ k) ** 2)
    tail = variance / (2 * b * (1 - queue.load)) * -np.log(OVERFLOW)
    return 4 * queue.max_batch + int(kept) + int(tail)


def more_states(states: int, overflow: float) -> int:
    """How many states to try next: as a geometric tail would need, where there is one to be seen."""
    if overflow > 1e-3:
        return 8 * states
    return max(int(1.1 * states * np.log(OVERFLOW) / np.log(overflow)), states + states // 4)


class Process:
    """Costs and durations for queues of 0 to ``states``, and expectations over what comes next."""

    def __init__(self, queue: BatchQueue, weights: Weights, states: int) -> None:
        sizes, kept = queue.counts.shape
        if states * max(sizes, kept) > MOST_CELLS:
            raise TooLargeError(
                f"the decision process at a load of {queue.load:.9g} would need {states:,} queue"
                f" lengths by {max(sizes, kept):,} batch sizes or arrivals, and at most"
                f" {MOST_CELLS:,} numbers fit; lower the rate, max_batch or the variation of service times"
            )
        self.queue, self.weights, self.states = queue, weights, states
        self.beyond = 1 - np.cumsum(queue.counts, axis=1)
        """(B + 1, K + 1): the chance that more than k arrive."""
        n = np.arange(states + 1)
        b = np.arange(sizes)[:, None]
        self.left = np.maximum(n - b, 0)
        """(B + 1, N + 1): what an action leaves waiting."""
        self.allowed = (b >= 1) & (b <= n)
        self.allowed[0] = n < queue.max_batch
        self.duration_s = np.append(1 / queue.rate_hz, queue.mean_s[1:])
        self.cost = self._cost()

    def present(self, excess: bool) -> Float64:
        """(N + K + 1,): the requests that are in the stage, or those beyond what comes in time."""
        n = np.arange(self.states + self.queue.counts.shape[1], dtype=np.float64)
        return np.maximum(n - self.queue.rate_hz * self.weights.objective_s, 0) if excess else n

    def held(self, present: Float64) -> Float64:
        """(B + 1, N + 1): the integral of ``present`` over an action, in expectation.

        A batch of b has k arrivals behind it for P(more than k) / rate, as arrival k + 1 comes at that
        rate meanwhile.
        """
        rate_hz = self.queue.rate_hz
        found = self._windows(present, self.beyond) / rate_hz
        found[0] = present[: self.states + 1] / rate_hz
        return found

    def after(self, values: Float64) -> Float64:
        """(B + 1, N + 1): the expectation of ``values`` (N + 1,) where an action leads."""
        kept = self.queue.counts.shape[1]
        padded = np.concatenate([values, np.full(kept - 1, values[-1])])
        found = np.take_along_axis(
            self._windows(padded, self.queue.counts), np.maximum(self.left, 0), axis=1
        )
        found[0] = np.append(values[1:], values[-1])
        return found

    def actions_of(self, table: Sequence[int]) -> Int64:
        """(N + 1,): the actions of a table, none of them beyond what there is."""
        n = np.arange(self.states + 1)
        told = np.asarray(table, np.int64)[np.minimum(n, len(table) - 1)]
        most = np.minimum(n, self.queue.max_batch)
        waits = (told == 0) & (n < self.queue.max_batch)
        return np.where(waits, 0, np.where(told == 0, most, np.minimum(told, most)))

    def _cost(self) -> Float64:
        weights = self.weights
        cost = weights.latency * self.held(self.present(excess=False))
        if weights.excess:
            cost += weights.excess * self.held(self.present(excess=True))
        cost[1:] += (weights.busy * self.queue.mean_s[1:] + weights.batch_s)[:, None]
        return cost

    def _windows(self, padded: Float64, by_size: Float64) -> Float64:
        """(B + 1, N + 1): sum over k of by_size[b, k] padded[n + k]."""
        windows = np.lib.stride_tricks.sliding_window_view(padded, by_size.shape[1])
        found: Float64 = by_size @ windows[: self.states + 1].T
        return found


class Chain:
    """A policy's linear equations, (I - P) V + g t = c with V[0] = 0, as one sparse matrix."""

    def __init__(self, process: Process, actions: Int64) -> None:
        self.process, self.actions = process, actions
        self.n = np.arange(process.states + 1)
        self.duration_s = process.duration_s[actions]
        self.factors: Any = self._factorised()
        one = np.zeros(process.states + 2)
        one[-1] = 1.0
        self.rates_hz = self.factors.solve(one, "T")[:-1]
        """How often each state is decided in, a second."""
        self.overflow = float(self.rates_hz[-1] / self.rates_hz.sum())

    def values(self) -> tuple[Float64, float]:
        """The relative values (N + 1,) and the cost a second."""
        found = self.factors.solve(np.append(self.process.cost[self.actions, self.n], 0.0))
        return found[:-1], float(found[-1])

    def figures(self) -> Figures:
        """Means a request."""
        process, rate_hz = self.process, self.process.queue.rate_hz
        sends = self.actions > 0
        excess = 0.0
        if process.weights.objective_s:
            excess = self._mean(process.held(process.present(excess=True)))
        return Figures(
            latency_s=self._mean(process.held(process.present(excess=False))) / rate_hz,
            busy_s=float(self.rates_hz[sends] @ self.duration_s[sends]) / rate_hz,
            batches=float(self.rates_hz[sends].sum()) / rate_hz,
            excess_s=excess / rate_hz,
        )

    def _mean(self, by_action: Float64) -> float:
        return float(self.rates_hz @ by_action[self.actions, self.n])

    def _factorised(self) -> Any:
        from scipy import sparse
        from scipy.sparse.linalg import splu

        process, states = self.process, self.process.states
        counts = process.queue.counts
        sends = np.flatnonzero(self.actions)
        waits = np.flatnonzero(self.actions == 0)
        sent = self.actions[sends]
        to = np.minimum((sends - sent)[:, None] + np.arange(counts.shape[1]), states)
        border = states + 1
        row = (np.repeat(sends, counts.shape[1]), waits, self.n, self.n, np.array([border]))
        column = (to.ravel(), waits + 1, self.n, np.full(states + 1, border), np.array([0]))
        moves = (-counts[sent].ravel(), -np.ones(len(waits)))
        value = (*moves, np.ones(states + 1), self.duration_s, np.ones(1))
        places = (np.concatenate(row), np.concatenate(column))
        matrix = sparse.coo_array((np.concatenate(value), places), (states + 2, states + 2)).tocsc()
        # A band by itself: any other order of its columns would fill it.
        return splu(matrix, permc_spec="NATURAL")


def _solve(process: Process) -> Optimum:
    # Larger batches than serve most may not keep up with the rate at all.
    mean_s = process.queue.mean_s
    b = 1 + int((mean_s[1:] / np.arange(1, len(mean_s))).argmin())
    actions = np.minimum(np.arange(process.states + 1), b)
    for step in range(1, MOST_STEPS + 1):
        chain = Chain(process, actions)
        values, cost = chain.values()
        slope = process.cost + process.after(values) - values
        slope /= process.duration_s[:, None]
        slope[~process.allowed] = np.inf
        found = slope.argmin(axis=0)
        least = slope[found, chain.n]
        if cost - least.min() <= GAP * cost or chain.overflow > OVERFLOW:
            return _optimum(chain, float(least.min()), step)
        # An action is given up for one that is really better, or rounding would go on for ever.
        better = slope[actions, chain.n] - least > GAP * cost / 10
        actions = np.where(better, found, actions)
    raise ArithmeticError(f"relative value iteration did not end in {MOST_STEPS} steps")


def _optimum(chain: Chain, least: float, steps: int) -> Optimum:
    process = chain.process
    figures = chain.figures()
    return Optimum(
        table=_trimmed(chain.actions),
        figures=figures,
        paid_s=process.weights.paid_s(figures),
        least_s=least / process.queue.rate_hz,
        states=process.states,
        overflow=chain.overflow,
        steps=steps,
    )


def _trimmed(actions: Int64) -> tuple[int, ...]:
    """Without what repeats at the end."""
    changes = np.flatnonzero(np.diff(actions))
    end = int(changes[-1]) + 2 if len(changes) else 1
    return tuple(actions[:end].tolist())
