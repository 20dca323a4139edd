"""One stage with one replica as a semi-Markov decision process: what comes, how long batches take, and
what is paid.

Requests come as a Poisson process. While the replica is idle the stage may send up to ``max_batch`` of what
waits, or wait for one more; a batch of b is served for a random time of mean ``mean_s[b]``. A decision is
due with an arrival while idle and with the end of a batch, so the number that waits is all of the state.
Times are in seconds, rates per second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

LEAST_CHANCE = 1e-12
"""Chances of more arrivals during a batch than this are counted with the last number that is kept."""
MOST_CELLS = 20_000_000
"""Largest table of floats that a problem may take: 160 MB."""


class TooLargeError(ValueError):
    """The states of a problem do not fit; the text says how many and what to lower."""


class UnstableError(ValueError):
    """More comes than can be served, so that there is no steady state to be optimal in."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What a request costs, in seconds: the weighted sum of its :class:`Figures`."""

    latency: float = 1.0
    """Of the mean latency. By Little's law, a cost of so much a second for each request in the stage."""
    busy: float = 0.0
    """Of the time that the replica is busy for one request."""
    batch_s: float = 0.0
    """Seconds that a batch costs beside."""
    excess: float = 0.0
    """Of the mean excess: requests in the stage beyond those that come within ``objective_s``."""
    objective_s: float = 0.0

    def __post_init__(self) -> None:
        """Something must cost something, and nothing may pay."""
        names = ("latency", "busy", "batch_s", "excess")
        for name in names:
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"weight {name} must be 0 or more, not {getattr(self, name):g}")
        if not any(getattr(self, name) for name in names):
            raise ValueError("all weights are 0, so that every policy is optimal; raise one")

    def paid_s(self, figures: Figures) -> float:
        """What a request costs."""
        return (
            self.latency * figures.latency_s
            + self.busy * figures.busy_s
            + self.batch_s * figures.batches
            + self.excess * figures.excess_s
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Means a request, of a policy in the steady state or in a run."""

    latency_s: float
    busy_s: float
    """Replica time."""
    batches: float
    """One over the mean batch."""
    excess_s: float = 0.0
    """E[(N - rate * objective)+] / rate, with N the requests in the stage: what Little's law makes of
    the time beyond the objective.
    """


@dataclass(frozen=True, slots=True, eq=False)
class BatchQueue:
    """A stage: ``mean_s`` (B + 1,) by batch size from 0, and ``counts`` (B + 1, K + 1), the chance that k
    requests arrive while a batch of b is served.
    """

    rate_hz: float
    mean_s: Float64
    counts: Float64

    @property
    def max_batch(self) -> int:
        """The largest batch."""
        return len(self.mean_s) - 1

    @property
    def load(self) -> float:
        """Arrival rate over the highest rate that batches of one size can serve."""
        sizes = np.arange(1, self.max_batch + 1)
        return self.rate_hz * float((self.mean_s[1:] / sizes).min())


def gamma_queue(rate_hz: float, mean_s: Float64, cv: float) -> BatchQueue:
    """A stage whose service times are gamma with that coefficient of variation: deterministic for 0,
    exponential for 1. Arrivals during a batch are then Poisson, or negative binomial.

    ``mean_s`` (B + 1,) by batch size, its first value not used. Raises ValueError for times of 0, and as
    :func:`check_stable` and :func:`check_fits` do.
    """
    from scipy import stats

    mean_s = _checked(rate_hz, mean_s)
    expected = rate_hz * mean_s[:, None]
    if cv == 0:
        most = int(stats.poisson.isf(LEAST_CHANCE, expected.max())) + 1
        check_fits(len(mean_s), most, rate_hz)
        counts = np.asarray(stats.poisson.pmf(np.arange(most + 1), expected))
    else:
        shape = cv**-2
        share = shape / (shape + expected)
        most = int(stats.nbinom.isf(LEAST_CHANCE, shape, share.min())) + 1
        check_fits(len(mean_s), most, rate_hz)
        counts = np.asarray(stats.nbinom.pmf(np.arange(most + 1), shape, share))
    return BatchQueue(rate_hz, mean_s, _whole(counts))


def mixture_queue(rate_hz: float, times_s: Float64, shares: Float64) -> BatchQueue:
    """A stage whose batch of b takes ``times_s[q, b]`` with the chance ``shares[q]``. Raises as
    :func:`gamma_queue` does.
    """
    from scipy import stats

    mean_s = _checked(rate_hz, shares @ times_s)
    counted = shares > LEAST_CHANCE
    rare = LEAST_CHANCE / shares[counted]
    most = int(stats.poisson.isf(rare, rate_hz * times_s[counted].max(axis=1)).max()) + 1
    check_fits(len(mean_s), most, rate_hz)
    k = np.arange(most + 1)
    counts = np.zeros((len(mean_s), most + 1))
    for share, each_s in zip(shares, times_s, strict=True):
        counts += share * stats.poisson.pmf(k, rate_hz * each_s[:, None])
    return BatchQueue(rate_hz, mean_s, _whole(counts))


def check_fits(sizes: int, counts: int, rate_hz: float) -> None:
    """Raise TooLargeError where a table of ``sizes`` by ``counts`` is beyond MOST_CELLS."""
    if sizes * counts > MOST_CELLS:
        raise TooLargeError(
            f"the decision process at {rate_hz:g}/s would need a table of {sizes:,} batch sizes by"
            f" {counts:,} queue lengths, and at most {MOST_CELLS:,} numbers fit; lower max_batch, the rate"
            " or the variation of service times"
        )


def check_stable(queue: BatchQueue) -> None:
    """Raise UnstableError where more comes than can be served."""
    if queue.load >= 1:
        raise UnstableError(
            f"no steady state: {queue.rate_hz:,.1f} requests/s come and at most"
            f" {queue.rate_hz / queue.load:,.1f}/s can be served"
        )


def _checked(rate_hz: float, mean_s: Float64) -> Float64:
    if not 0 < rate_hz < float("inf"):
        raise ValueError(f"the rate must be above 0 and finite, not {rate_hz:g}")
    mean_s = np.array(mean_s, np.float64)
    mean_s[0] = 0.0
    if len(mean_s) < 2 or not (mean_s[1:] > 0).all():
        raise ValueError("batches that take no time need no policy; give `service`")
    # What is unstable is told of before a table for it is made.
    check_stable(BatchQueue(rate_hz, mean_s, np.ones((1, 1))))
    return mean_s


def _whole(counts: Float64) -> Float64:
    """With what is missing to 1 counted in the last column."""
    counts[:, -1] += 1 - counts.sum(axis=1)
    return np.maximum(counts, 0)
