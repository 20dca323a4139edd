"""How much more traffic a plan bears before its objective breaks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.capacity import capacity_hz
from sim.planning.problem import Candidate, Planned
from sim.planning.verify import Reached, Verifier

_CLOSE = 1.01
"""Bisection ends where what holds and what breaks are so close."""
_SHARES = (0.25, 0.4, 0.55, 0.7, 0.85)
"""Further rates that the curve is drawn through, as shares of the highest."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """Latency against the rate, and the highest rate that keeps the objective."""

    max_rate_hz: float
    curve: tuple[Reached, ...]
    """By rate, every point over the same fresh replications."""


def headroom(planned: Planned, verifier: Verifier, candidate: Candidate) -> Headroom:
    """Bisect between the planned rate, which ``candidate`` bears, and the throughput bound, to 1%.

    A rate is borne where the whole interval of the latency lies within the objective.
    """
    low_hz = planned.rate_hz
    high_hz = capacity_hz(planned.config_of(candidate), planned.mean_items)
    points = verifier.at(candidate, [low_hz])
    while high_hz > _CLOSE * low_hz:
        middle_hz = math.sqrt(low_hz * high_hz)
        found = verifier.at(candidate, [middle_hz])[0]
        points.append(found)
        if found.within(planned.objective_ms):
            low_hz = middle_hz
        else:
            high_hz = middle_hz
    points += verifier.at(candidate, [share * low_hz for share in _SHARES])
    return Headroom(low_hz, tuple(sorted(points, key=lambda each: each.rate_hz)))
