"""Service times in the compiled driver; mirrors ``sim.service``.

The ``ranks`` of a stage hold, from ``ranks_at``: for each size up to ``places_n`` - 1 the bins on either
side and the weight of the upper one (3 numbers, bins as offsets), where a bin is its number of ratios
followed by them; and from ``pace_at`` the logarithms of rests, then their factors (``pace_n`` each).
Those of a stage timed by score hold its ``places_n`` sizes, then the ``points_n`` times of each.
"""

from __future__ import annotations

from math import log1p
from typing import Any

import numpy as np

from sim.compiled.jit import called, inlined
from sim.compiled.layout import BY_MEAN, BY_RANK, BY_SCORE


@inlined
def time_ns(b: Any, k: int, batch: int, requests: int, items: int, rested_ns: int) -> int:
    """Time of a stage's batch, by its number and size."""
    st = b.stages[k]
    if st.padded:
        size = b.pads[st.pad_at + requests]
        items = items * size // requests
        requests = size
    noise = b.noise[k, batch] if st.noisy else 1.0
    if st.form == BY_MEAN:
        return int((b.mean_ns[st.mean_at + requests] + st.per_item_ns * items) * noise + 0.5)
    if st.form == BY_RANK:
        time = _by_rank(b, k, noise, requests, items)
        if st.paced:
            return int(np.rint(time * _pace(b, k, rested_ns)))
        return time
    if st.form == BY_SCORE:
        return _by_score(b, k, noise, items if st.by_items else requests)
    return int(noise)


@called
def _by_rank(b: Any, k: int, rank: float, requests: int, items: int) -> int:
    """Mirrors ``Measured.time_ns``."""
    st = b.stages[k]
    place = st.ranks_at + 3 * min(requests, st.places_n - 1)
    weight = b.ranks[place + 2]
    ratio = _quantile(b, int(b.ranks[place]), rank)
    if weight:
        ratio += weight * (_quantile(b, int(b.ranks[place + 1]), rank) - ratio)
    mean = st.base_ns + st.per_request_ns * requests + st.per_item_ns * items
    return int(mean * ratio + 0.5)


@called
def _quantile(b: Any, at: int, rank: float) -> float:
    n = int(b.ranks[at])
    place = rank * n - 0.5
    if place <= 0:
        return b.ranks[at + 1]
    below = int(place)
    if below >= n - 1:
        return b.ranks[at + n]
    low = b.ranks[at + 1 + below]
    return low + (place - below) * (b.ranks[at + 2 + below] - low)


@called
def _by_score(b: Any, k: int, score: float, size: int) -> int:
    """Mirrors ``Scored.time_ns``."""
    st = b.stages[k]
    at, last = st.ranks_at, st.places_n - 1
    low = last
    while low > 0 and b.ranks[at + low] > size:
        low -= 1
    time = _at_score(b, k, low, score)
    beyond = size - b.ranks[at + low]
    if beyond < 0:
        return int(time + 0.5)
    if low == last:
        return int(time * (1.0 + st.growth * beyond) + 0.5)
    weight = beyond / (b.ranks[at + low + 1] - b.ranks[at + low])
    time += weight * (_at_score(b, k, low + 1, score) - time)
    return int(time + 0.5)


@called
def _at_score(b: Any, k: int, size: int, score: float) -> float:
    st = b.stages[k]
    n = st.points_n
    at = st.ranks_at + st.places_n + size * n
    place = (score - st.lowest) * st.per_score
    if place <= 0:
        return b.ranks[at]
    below = int(place)
    if below >= n - 1:
        return b.ranks[at + n - 1]
    low = b.ranks[at + below]
    return low + (place - below) * (b.ranks[at + below + 1] - low)


@called
def _pace(b: Any, k: int, rested_ns: int) -> float:
    """Mirrors ``Pace``."""
    st = b.stages[k]
    n = st.pace_n
    if rested_ns < 0 or n == 0:
        return 1.0
    at = log1p(rested_ns / 1000)
    high = 0
    while high < n and b.ranks[st.pace_at + high] <= at:
        high += 1
    factors = st.pace_at + n
    if high == 0:
        return b.ranks[factors]
    if high == n:
        return b.ranks[factors + n - 1]
    low = b.ranks[st.pace_at + high - 1]
    share = (at - low) / (b.ranks[st.pace_at + high] - low)
    before = b.ranks[factors + high - 1]
    return before + share * (b.ranks[factors + high] - before)
