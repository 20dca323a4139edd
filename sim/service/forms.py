"""A service model's times in a form that the compiled driver knows: tables of numbers.

A model that can be told so says so in :meth:`ServiceModel.form`; one that cannot runs on the reference
driver.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.service.base import Float64


@dataclass(frozen=True, slots=True, eq=False)
class ByMean:
    """time = int((mean_ns[requests] + per_item_ns * items) * noise + 0.5)."""

    mean_ns: Float64
    """By requests in a batch, from 0 to the largest."""
    per_item_ns: float = 0.0
    noisy: bool = True
    """False where all noise is 1."""


@dataclass(frozen=True, slots=True, eq=False)
class ByRank:
    """time = int(affine(requests, items) * ratio + 0.5), with the ratio that has the noise's rank in the
    bins on either side of the size, as in ``sim.service.measured``.
    """

    base_ns: float
    per_request_ns: float
    per_item_ns: float
    places: tuple[tuple[int, int, float], ...]
    """For each size from 0, the last standing for all beyond: lower bin, upper bin, weight of the upper."""
    ratios: tuple[tuple[float, ...], ...]
    """The sorted ratios of each bin."""
    pace_logs: tuple[float, ...] = ()
    pace_factors: tuple[float, ...] = ()
    """Knots of the factor after a rest; empty where the model is not paced."""


@dataclass(frozen=True, slots=True, eq=False)
class ByScore:
    """time = int(t * scale + 0.5), with t at the noise's score and linear between sizes, and the scale that
    applies beyond the largest: as in ``sim.service.scored``.
    """

    sizes: tuple[int, ...]
    """Ascending, in items or in requests."""
    times_ns: tuple[tuple[float, ...], ...]
    """For each size the times at scores from ``lowest`` on, ``per_score`` of them in a unit of score."""
    growth: float
    lowest: float
    per_score: float
    by_items: bool


@dataclass(frozen=True, slots=True)
class Given:
    """time = int(noise): whole nanoseconds by batch number."""


Exact = ByMean | ByRank | ByScore | Given
"""Forms that take a batch as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class PaddedForm:
    """The time of a batch of ``sizes[requests]``, with items * sizes[requests] // requests items."""

    of: Exact
    sizes: tuple[int, ...]
    """By requests in a batch, from 0 to the largest."""


Form = Exact | PaddedForm
