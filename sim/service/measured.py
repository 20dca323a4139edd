"""A service model out of measured batches: their times by size, and the order in which luck came.

Each time is taken as a ratio to an affine mean of the batch's requests and items. The ratios of batches
of like size make a distribution; interpolated between sizes it gives every size its own spread, and
beyond the sizes measured the affine mean carries the nearest one on. What a batch was like among its
kind is its rank there, from 0 to 1: free of size, so a stretch of ranks measured at one load can be
replayed at another, where batches have other sizes.

Ratios are pooled over all runs; ranks are taken within each run. A run that met a slower machine widens
the spread for all, but does not stay slow for whole blocks: pooled ranks, in which it would, predict
longer tails at high load than the machine shows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import log1p

import numpy as np
from numpy.random import Generator

from policies.runlog import Int64
from sim.service.base import Float64
from sim.service.blocks import Blocks
from sim.service.forms import ByRank

MIN_IN_BIN = 50
"""Batches that a distribution of its own takes; sizes seen less often are put together."""


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """Measured batches of one run in time order, as equal-length columns."""

    requests: Int64
    items: Int64
    service_ns: Int64
    rested_ns: Int64 | None = None
    """How long the replica had been idle before, -1 for its first batch; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Factor of the time after a rest: linear in the logarithm of the rest, within those measured."""

    logs: tuple[float, ...]
    """log(1 + rest in microseconds) at the knots, ascending; empty where nothing is known."""
    factors: tuple[float, ...]

    def __call__(self, rested_ns: int) -> float:
        """1 for a replica's first batch."""
        if rested_ns < 0 or not self.logs:
            return 1.0
        return _between(self.logs, self.factors, log1p(rested_ns / 1000))


@dataclass(frozen=True, slots=True)
class AffineMean:
    """base + per_request * requests + per_item * items, in nanoseconds."""

    base_ns: float
    per_request_ns: float
    per_item_ns: float

    def __call__(self, requests: Int64, items: Int64) -> Float64:
        """The mean of each batch, at least 1 ns so that ratios to it exist."""
        mean = self.base_ns + self.per_request_ns * requests + self.per_item_ns * items
        return np.asarray(np.maximum(mean, 1.0), np.float64)


@dataclass(frozen=True)
class Measured:
    """The fitted model. ``ratios[b]`` are the sorted ratios of bin b, ``centers[b]`` its mean size."""

    mean: AffineMean
    centers: tuple[float, ...]
    ratios: tuple[tuple[float, ...], ...]
    blocks: Blocks
    pace: Pace
    items_each: float = 1.0
    """Items that a request had, in the mean."""

    def draw(self, rng: Generator, count: int) -> Float64:
        """Ranks in (0, 1), in blocks."""
        return self.blocks.draw(rng, count)

    def expected_ns(self, requests: int, items: int) -> float:
        """Mean time: what :meth:`time_ns` averages to over all ranks."""
        low, high, weight = self._place(requests)
        means = self._bin_means
        return self._affine(requests, items) * (means[low] + weight * (means[high] - means[low]))

    def time_ns(self, rank: float, requests: int, items: int) -> int:
        """The quantile at ``rank`` of the times of such a batch."""
        low, high, weight = self._place(requests)
        ratio = _quantile(self.ratios[low], rank)
        if weight:
            ratio += weight * (_quantile(self.ratios[high], rank) - ratio)
        return int(self._affine(requests, items) * ratio + 0.5)

    def with_more(self, each_ns: float) -> Measured:
        """The same luck where each request takes so much more, or less, in the mean.

        What it takes can only vanish; a batch takes what it does before its first request.
        """
        mean = self.mean
        known_ns = mean.per_request_ns + mean.per_item_ns * self.items_each
        if not each_ns or not known_ns:
            return self
        factor = max(1 + each_ns / known_ns, 0.0)
        parts = (factor * mean.per_request_ns, factor * mean.per_item_ns)
        return replace(self, mean=AffineMean(mean.base_ns, *parts))

    def form(self) -> ByRank:
        """Its tables, as the compiled driver takes them."""
        mean = self.mean
        return ByRank(
            mean.base_ns,
            mean.per_request_ns,
            mean.per_item_ns,
            tuple(self._places),
            self.ratios,
            self.pace.logs,
            self.pace.factors,
        )

    def _affine(self, requests: int, items: int) -> float:
        mean = self.mean
        return mean.base_ns + mean.per_request_ns * requests + mean.per_item_ns * items

    def _place(self, requests: int) -> tuple[int, int, float]:
        """The bins on either side of a size, and how far between them it lies."""
        places = self._places
        return places[requests] if requests < len(places) else places[-1]

    @cached_property
    def _places(self) -> list[tuple[int, int, float]]:
        """:meth:`_place` of each size from 0 to the last center, then one for all beyond."""
        centers = self.centers
        places = []
        for size in range(int(centers[-1]) + 2):
            low = bisect_right(centers, size) - 1
            if low < 0 or low == len(centers) - 1:
                places.append((max(low, 0), max(low, 0), 0.0))
            else:
                weight = (size - centers[low]) / (centers[low + 1] - centers[low])
                places.append((low, low + 1, weight))
        return places

    @cached_property
    def _bin_means(self) -> list[float]:
        return [float(np.mean(ratios)) for ratios in self.ratios]


def _quantile(ordered: Sequence[float], rank: float) -> float:
    """The value at a rank; that of rank (k + 1/2)/n is ``ordered[k]``, linear between."""
    at = rank * len(ordered) - 0.5
    if at <= 0:
        return ordered[0]
    below = int(at)
    if below >= len(ordered) - 1:
        return ordered[-1]
    return ordered[below] + (at - below) * (ordered[below + 1] - ordered[below])


def measure(runs: Sequence[Batches], block: int) -> Measured:
    """The model of these runs. Raises ValueError where they hold no batch or no time above 0."""
    runs = [run for run in runs if len(run.service_ns)]
    if not runs:
        raise ValueError("no batch was measured")
    requests = np.concatenate([run.requests for run in runs])
    items = np.concatenate([run.items for run in runs])
    service_ns = np.concatenate([run.service_ns for run in runs]).astype(float)
    if service_ns.max() <= 0:
        raise ValueError("all measured times are 0")
    pace, factor = fit_pace(runs)
    service_ns = service_ns / factor
    mean = fit_affine(requests, items, service_ns)
    ratio = service_ns / mean(requests, items)
    bins = _bins(requests)
    members = [bins == each for each in range(int(bins.max()) + 1)]
    centers = tuple(float(requests[member].mean()) for member in members)
    ratios = tuple(tuple(np.sort(ratio[member]).tolist()) for member in members)
    # A run's bins may mix more sizes than the pooled ones: what is left of size is taken out first.
    means = [float(ratio[member].mean()) for member in members]
    luck = ratio / np.interp(requests, centers, means)
    ends = np.cumsum([len(run.service_ns) for run in runs])[:-1]
    ranks = [
        _ranks(run.requests, part) for run, part in zip(runs, np.split(luck, ends), strict=True)
    ]
    items_each = float(items.sum() / requests.sum())
    return Measured(mean, centers, ratios, Blocks.of(ranks, block), pace, items_each)


def _ranks(requests: Int64, luck: Float64) -> Float64:
    """Each batch's rank, in (0, 1), among those of like size in its run."""
    ranks = np.empty(len(luck))
    bins = _bins(requests)
    for each in range(int(bins.max()) + 1):
        member = bins == each
        ranks[member] = _mid_ranks(luck[member])
    return ranks


def _bins(requests: Int64) -> Int64:
    """For each batch the number of its bin: consecutive sizes that have enough batches together."""
    sizes, inverse, seen = np.unique(requests, return_inverse=True, return_counts=True)
    bin_of_size = np.empty(len(sizes), np.int64)
    current = have = 0
    for at, count in enumerate(seen.tolist()):
        bin_of_size[at] = current
        have += count
        if have >= MIN_IN_BIN:
            current, have = current + 1, 0
    if have and current:
        bin_of_size[bin_of_size == current] = current - 1
    return bin_of_size[inverse]


def _mid_ranks(values: Float64) -> Float64:
    """(k + 1/2)/n for the k-th smallest; equal values share the middle of theirs."""
    _, inverse, seen = np.unique(values, return_inverse=True, return_counts=True)
    upto = np.cumsum(seen)
    return ((upto - seen / 2) / len(values))[inverse]


KNOTS = 8
"""Rests at which the pace is told, of equally many batches each."""


def fit_pace(runs: Sequence[Batches]) -> tuple[Pace, Float64]:
    """How times depend on the rest before, and the factor of each batch.

    Compared are batches of like size in one run, so that neither size nor a slow spell of the machine
    between runs counts; the factor is the median in each class of rests.
    """
    total = sum(len(run.service_ns) for run in runs)
    if any(run.rested_ns is None for run in runs):
        return Pace((), ()), np.ones(total)
    logs = np.concatenate([_log_rest(run) for run in runs])
    luck = np.concatenate([_luck_by_size(run) for run in runs])
    known = ~np.isnan(logs)
    if known.sum() < KNOTS * MIN_IN_BIN:
        return Pace((), ()), np.ones(total)
    edges = np.unique(np.quantile(logs[known], np.linspace(0, 1, KNOTS + 1)))
    classes = np.clip(np.searchsorted(edges, logs, side="right") - 1, 0, len(edges) - 2)
    knots, factors = [], []
    for each in range(len(edges) - 1):
        member = known & (classes == each)
        if member.any():
            knots.append(float(logs[member].mean()))
            factors.append(float(np.median(luck[member])))
    pace = Pace(tuple(knots), tuple(factors))
    return pace, np.where(known, np.interp(logs, knots, factors), 1.0)


def _log_rest(run: Batches) -> Float64:
    rested = np.asarray(run.rested_ns, float)
    return np.where(rested < 0, np.nan, np.log1p(np.maximum(rested, 0) / 1000))


def _luck_by_size(run: Batches) -> Float64:
    """Each time over the median of its size's in this run."""
    return np.asarray(
        run.service_ns / np.maximum(_typical(run.requests, run.service_ns.astype(float)), 1.0)
    )


def _between(knots: Sequence[float], values: Sequence[float], at: float) -> float:
    """Linear interpolation, flat beyond the ends."""
    high = bisect_right(knots, at)
    if high == 0:
        return values[0]
    if high == len(knots):
        return values[-1]
    share = (at - knots[high - 1]) / (knots[high] - knots[high - 1])
    return values[high - 1] + share * (values[high] - values[high - 1])


def fit_affine(requests: Int64, items: Int64, service_ns: Float64) -> AffineMean:
    """Least squares of relative errors with no negative part.

    What the data cannot tell apart is settled thus: where items keep one proportion to requests, they
    bear the cost (requests do if each has one item); where all batches have one size, time is taken
    to grow in proportion to it, since no saving by batching was seen.
    """
    from scipy.optimize import nnls

    each = items / requests
    one_item = bool((each == 1).all())
    by_items = not one_item and items.max() > 0
    by_requests = not by_items or float(np.ptp(each)) > 1e-9 * float(each.max())
    base = len(np.unique(requests)) > 1
    parts = [
        np.ones(len(requests)) if base else None,
        requests.astype(float) if by_requests else None,
        items.astype(float) if by_items else None,
    ]
    used = [part for part in parts if part is not None]
    # Relative to the typical time at a size, so that one slow outlier does not count for less.
    typical = np.maximum(_typical(requests, service_ns), 1.0)
    design = np.column_stack(used) / typical[:, None]
    norms = np.linalg.norm(design, axis=0)
    norms[norms == 0] = 1
    solved, _ = nnls(design / norms, service_ns / typical)
    coefficients = iter((solved / norms).tolist())
    return AffineMean(*(0.0 if part is None else next(coefficients) for part in parts))


def _typical(requests: Int64, service_ns: Float64) -> Float64:
    """The median time of batches of each one's size."""
    sizes, inverse = np.unique(requests, return_inverse=True)
    medians = np.array([np.median(service_ns[inverse == at]) for at in range(len(sizes))])
    return medians[inverse]
