"""A log of the last batches in a policy's state, and the line of their time by their size.

The log is a part of the state from an index on: how many batches it has had, then size, time and wait of
each of the last :data:`KEPT`.
"""

from __future__ import annotations

from policies.contract import State

KEPT = 50
"""Batches that the log holds."""


def empty_log() -> list[int]:
    """The log's part of a state, at the start."""
    return [0] * (1 + 3 * KEPT)


def log_batch(state: State, log: int, requests: int, service_ns: int, wait_ns: int) -> None:
    """Note a batch in the log at index ``log``, in place of the oldest where it is full."""
    at = log + 1 + 3 * (state[log] % KEPT)
    state[at] = requests
    state[at + 1] = service_ns
    state[at + 2] = wait_ns
    state[log] += 1


def fit_line(state: State, log: int) -> tuple[float, float, float]:
    """(time of one more request, time of none, mean wait) by least squares; the log is not empty.

    Where all batches are of one size, many lines fit as well; this is then the one of the smallest
    ``slope ** 2 + intercept ** 2``, as ``numpy.linalg.lstsq`` has it.
    """
    count = min(state[log], KEPT)
    requests, service, wait = 0.0, 0.0, 0.0
    for at in range(log + 1, log + 1 + 3 * count, 3):
        requests += state[at]
        service += state[at + 1]
        wait += state[at + 2]
    requests, service, wait = requests / count, service / count, wait / count
    spread, joint = 0.0, 0.0
    for at in range(log + 1, log + 1 + 3 * count, 3):
        spread += (state[at] - requests) * (state[at] - requests)
        joint += (state[at] - requests) * (state[at + 1] - service)
    if spread == 0.0:
        intercept = service / (requests * requests + 1.0)
        return requests * intercept, intercept, wait
    slope = joint / spread
    return slope, service - slope * requests, wait
