"""Distributions out of what is printed of them: a mean and a few percentiles.

A batch's score is how far out it is among its kind, as a standard normal number: its rank is Phi(score).
Between two printed percentiles the logarithm of the time is linear in the score, which is a piece of a
lognormal. Beyond the last it goes on as between the last two, and below the first its slope is the one
that gives the printed mean. Where a single percentile is printed both have one slope, which makes the
lognormal of that mean and that percentile. A mean that is higher than all this allows tells of outliers
beyond the last percentile: then nothing lies below the first, and the slope beyond the last is raised.

Quantile functions put together from pieces are those of Gilchrist, "Statistical Modelling with Quantile
Functions" (2000).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from configs.units import format_duration
from sim.service.base import Float64

REACH = 5.0
"""Scores beyond this, one batch in three million, count as this."""
PER_SCORE = 32
"""Points of a table in one unit of score; between them times are linear, within 0.1% of what is meant, and at
the percentiles themselves all but exact."""
STEEPEST = 3.0
"""Steepest slope taken beyond the percentiles: a time that grows twentyfold with each unit of score."""

_SCORES = np.arange(-REACH * PER_SCORE, REACH * PER_SCORE + 1) / PER_SCORE


def times_by_score(mean: float, percentiles: Mapping[int, float]) -> Float64:
    """Times in nanoseconds at scores from -REACH to REACH in steps of 1/PER_SCORE, whose mean is ``mean``.

    ``percentiles`` are ascending in both key and value. Raises ValueError where no distribution of this
    form has both them and the mean.
    """
    if not percentiles:
        return np.full(len(_SCORES), float(mean))
    scores = np.array([NormalDist().inv_cdf(each / 100) for each in percentiles])
    logs = np.log(np.array(list(percentiles.values()), np.float64))
    found = _one(mean, scores, logs) if len(scores) == 1 else _several(mean, scores, logs)
    return found * (mean / mean_of(found))


def mean_of(times: Float64) -> float:
    """The mean of times by score: their integral against the normal density."""
    return float(_weights() @ times)


def _one(mean: float, scores: Float64, logs: Float64) -> Float64:
    return _solved(mean, lambda slope: _curve(scores, logs, slope, slope), 0.0, float(scores[0]))


def _several(mean: float, scores: Float64, logs: Float64) -> Float64:
    last = float((logs[-1] - logs[-2]) / (scores[-1] - scores[-2]))
    if mean_of(_curve(scores, logs, 0.0, last)) >= mean:
        return _solved(mean, lambda slope: _curve(scores, logs, slope, last), 0.0, STEEPEST)
    return _solved(mean, lambda slope: _curve(scores, logs, 0.0, slope), last, max(last, STEEPEST))


def _curve(scores: Float64, logs: Float64, below: float, beyond: float) -> Float64:
    """Times through the percentiles, with these slopes outside them.

    A bend within a step of the table would be cut short, and the percentile at it missed: each slope
    holds to the next point of the table.
    """
    points = np.ceil(scores * PER_SCORE) / PER_SCORE
    values = np.empty(len(scores))
    slope = below
    for k in range(len(scores)):
        if k:
            slope = (logs[k] - values[k - 1]) / (scores[k] - points[k - 1])
        values[k] = logs[k] + slope * (points[k] - scores[k])
        if k + 1 < len(scores):
            values[k] = min(values[k], logs[k + 1])
    outside = np.minimum(below * (_SCORES - points[0]), 0.0)
    outside += np.maximum(beyond * (_SCORES - points[-1]), 0.0)
    return np.asarray(np.exp(np.interp(_SCORES, points, values) + outside), np.float64)


def _solved(mean: float, curve: Callable[[float], Float64], least: float, most: float) -> Float64:
    """The curve of the slope, within these bounds, that has this mean."""
    from scipy.optimize import brentq

    def off(slope: float) -> float:
        return mean_of(curve(slope)) / mean - 1

    at_least, at_most = off(least), off(most)
    if abs(at_least) < _EXACT:
        return curve(least)
    if at_least * at_most > 0:
        way = "above" if at_least < 0 else "below"
        nearest = mean * (1 + min(at_least, at_most, key=abs))
        raise ValueError(_impossible(mean, way, nearest))
    return curve(float(brentq(off, least, most, xtol=1e-12)))


_EXACT = 1e-9
"""Relative difference of means that is due to the table's points."""


def _impossible(mean: float, way: str, nearest: float) -> str:
    return (
        f"the mean, {_four_digits(mean)}, is too far {way} the percentiles, which allow"
        f" {'at most' if way == 'above' else 'at least'} {_four_digits(nearest)}"
    )


def _four_digits(duration_ns: float) -> str:
    return format_duration(round(float(f"{duration_ns:.4g}")))


@lru_cache(maxsize=1)
def _weights() -> Float64:
    """What the time at each score counts in the mean: the normal expectation of the hat function that is
    1 there and 0 at its neighbours; the ends take what lies beyond them.
    """
    normal = NormalDist()
    below = np.array([normal.cdf(score) for score in _SCORES.tolist()])
    density = np.array([normal.pdf(score) for score in _SCORES.tolist()])
    mass, moment = np.diff(below), density[:-1] - density[1:]
    weights = np.zeros(len(_SCORES))
    weights[:-1] += (_SCORES[1:] * mass - moment) * PER_SCORE
    weights[1:] += (moment - _SCORES[:-1] * mass) * PER_SCORE
    weights[0] += below[0]
    weights[-1] += 1 - below[-1]
    return weights
