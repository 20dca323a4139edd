"""What every control limit of a stage costs, from one factorisation."""

from __future__ import annotations

import numpy as np

from policies.smdp_model import BatchQueue, Float64, UnstableError, Weights
from policies.smdp_solver import OVERFLOW, Chain, Process, first_states, more_states


def limit_table(limit: int, max_batch: int) -> tuple[int, ...]:
    """How many to send by the queue's length, 0 for waiting."""
    return tuple(n if n >= limit else 0 for n in range(max_batch + 1))


def paid_by_limit(queue: BatchQueue, weights: Weights) -> Float64:
    """(B,): what a request costs, in seconds, with each limit from 1 to ``max_batch``.

    The equations of limit q + 1 are those of limit q but for the row of q waiting requests, which now
    waits. So with A the equations of limit 1, E the first rows' unit vectors and D the changes of these
    rows, those of any limit are A + E D, solved by the formula of Sherman, Morrison and Woodbury out of
    A's factors.

    Raises UnstableError where full batches cannot serve what comes, and TooLargeError.
    """
    b = queue.max_batch
    if queue.rate_hz * queue.mean_s[b] >= b:
        raise UnstableError(
            f"no steady state: {queue.rate_hz:,.1f} requests/s come and batches of {b} serve"
            f" {b / queue.mean_s[b]:,.1f}/s"
        )
    states = first_states(queue)
    while True:
        process = Process(queue, weights, states)
        # The largest limit has the longest queues.
        overflow = Chain(process, process.actions_of(limit_table(b, b))).overflow
        if overflow <= OVERFLOW:
            return _paid(process)
        states = more_states(states, overflow)


def _paid(process: Process) -> Float64:
    queue, states = process.queue, process.states
    b, rate_hz = queue.max_batch, queue.rate_hz
    chain = Chain(process, process.actions_of(limit_table(1, b)))
    rows = np.arange(1, b)
    unit = np.zeros((states + 2, b - 1))
    unit[rows, rows - 1] = 1.0
    inverse = chain.factors.solve(unit)
    """A^-1 E, (N + 2, B - 1)."""
    cost = np.append(process.cost[chain.actions, chain.n], 0.0)
    values = chain.factors.solve(cost)
    extra = process.cost[0, rows] - process.cost[rows, rows]
    """(B - 1,): what a row costs more when it waits."""
    change = _changes(process, rows)
    small = np.eye(b - 1) + change @ inverse
    moved_values, moved_inverse = change @ values, change @ inverse
    paid = np.empty(b)
    for waiting in range(b):
        # The cost a second is the last unknown; the right side has changed in the rows that wait.
        w = slice(0, waiting)
        known = moved_values[w] + moved_inverse[w, w] @ extra[w]
        second = values[-1] + inverse[-1, w] @ extra[w]
        paid[waiting] = second - inverse[-1, w] @ np.linalg.solve(small[w, w], known)
    found: Float64 = paid / rate_hz
    return found


def _changes(process: Process, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Float64:
    """(B - 1, N + 2): the row of the equations where q requests wait, less that where they are sent."""
    queue, states = process.queue, process.states
    kept = queue.counts.shape[1]
    found = np.zeros((len(rows), states + 2))
    at = np.arange(len(rows))
    found[at, rows + 1] -= 1.0
    to = np.minimum(np.arange(kept), states)
    for row, size in zip(at, rows, strict=True):
        np.add.at(found[row], to, queue.counts[size])  # all are sent: what comes is what waits then
        found[row, -1] = 1 / queue.rate_hz - queue.mean_s[size]
    return found
