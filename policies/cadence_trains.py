"""Chains whose stages want batches of different sizes: where trains are formed anew, and how large.

On a chain of stages with replicas of their own, each run of neighbouring stages may have a train of its
own: at its first stage batches are formed afresh, up to its own cap. With Q the rate, u a utilization that
all stages share, and for the train i

    T_i(b)  greatest over its stages of l_k(b) / R_k
    b_i     the smallest b with Q T_i(b) / b <= u: a stage that is quick to serve small batches has them

a request waits at the first train as it does in front of a single one, for max(b_0, N(u)) / Q, and at each
further one until its batch is formed:

    b_i / Q                           and, where larger batches come in,
    max(0, b_{i-1} - (1 - u) R_i b_i) / Q   for what is left of one after all idle replicas have a part

The trains, the sizes and u are those for which S(b_0, b_1, ...) and the waits stay within the objective at
the highest rate. All of it is tried: cuts, rates a hundredth apart, and a few utilizations. Below the
lowest of these the tail N of heavy traffic says little, and no train is divided on its word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice, pairwise

import numpy as np
from numpy.typing import NDArray

from policies.cadence_model import RARE, Z_99, Model, batch_ns, sizes_to, work_ns

Float64 = NDArray[np.float64]

UTILIZATIONS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97)
STEP, STEPS = 0.99, 200
"""Rates that are tried, from what full batches bear downwards."""
MOST_DIVISIONS = 600
"""Those of a chain that are tried, the ones into few trains first: all of a chain of ten stages."""


@dataclass(frozen=True, slots=True)
class Divided:
    """Trains of a chain: (first stage, stage after the last, cap) each."""

    trains: tuple[tuple[int, int, int], ...]
    rate_hz: float


@dataclass(frozen=True, slots=True)
class Span:
    """What a run of stages takes by batch size, from the first of ``sizes`` on."""

    sizes: NDArray[np.int64]
    served_ns: Float64
    """The service times one after another."""
    variance: Float64
    """Of their noise."""
    each_ns: Float64
    """T(b) / b, or a lower one of smaller batches."""
    replicas: int
    """The fewest of a stage."""
    cv: float

    def smallest(self, share_ns: Float64) -> NDArray[np.int64]:
        """Places of the smallest sizes with T(b) / b <= share; beyond the end where there is none."""
        return np.searchsorted(-self.each_ns, -share_ns, side="left")


def divided(model: Model, objective_ns: int, dispersion: float) -> Divided | None:
    """The best trains, of at least two; None where stages fork, share devices, are all of one replica, or
    no division keeps the objective.
    """
    stages = model.stages
    is_chain = all(parents == ([k - 1] if k else []) for k, parents in enumerate(model.parents))
    alone = len(model.resources) == len(stages)
    if not (is_chain and alone) or all(stage.replicas == 1 for stage in stages):
        return None
    count = len(stages)
    spans = {(a, b): _span(model, a, b) for a, b in combinations(range(count + 1), 2)}
    best: Divided | None = None
    for cuts in islice(_cuts(count), MOST_DIVISIONS):
        ends = tuple(pairwise((0, *cuts, count)))
        rate, at = _highest([spans[each] for each in ends], objective_ns, dispersion)
        if at is not None and (best is None or rate * 1e9 > best.rate_hz):
            trains = tuple((a, b, cap) for (a, b), cap in zip(ends, at, strict=True))
            best = Divided(trains, rate * 1e9)
    return best


def _cuts(count: int) -> Iterator[tuple[int, ...]]:
    for cuts in range(1, count):
        yield from combinations(range(1, count), cuts)


def _span(model: Model, first: int, after: int) -> Span:
    stages, cvs = model.stages[first:after], model.cvs[first:after]
    sizes = np.array(sizes_to(max(stage.max_batch for stage in stages)))
    takes_ns = np.array([[batch_ns(stage, int(b)) for b in sizes] for stage in stages], float)
    each_ns = [[work_ns(s, int(b)) / s.replicas / int(b) for b in sizes] for s in stages]
    return Span(
        sizes,
        takes_ns.sum(axis=0),
        ((np.array(cvs)[:, None] * takes_ns) ** 2).sum(axis=0),
        np.minimum.accumulate(np.max(each_ns, axis=0)),
        min(stage.replicas for stage in stages),
        max(cvs),
    )


def _highest(
    spans: list[Span], objective_ns: int, dispersion: float
) -> tuple[float, list[int] | None]:
    """The highest rate in requests a nanosecond, and the sizes; no sizes where none is borne."""
    full_ns = max(float(span.each_ns[-1]) for span in spans)
    if full_ns <= 0:
        return 0.0, None
    rates = (STEP ** np.arange(STEPS) / full_ns)[:, None]
    busy = np.array(UTILIZATIONS)[None, :]
    places = [span.smallest(busy / rates) for span in spans]
    fits = np.all([at < len(span.sizes) for at, span in zip(places, spans, strict=True)], axis=0)
    places = [np.minimum(at, len(s.sizes) - 1) for at, s in zip(places, spans, strict=True)]
    sizes = [span.sizes[at] for at, span in zip(places, spans, strict=True)]
    noisy = np.max([b * span.cv**2 for b, span in zip(sizes, spans, strict=True)], axis=0)
    ahead = np.maximum(sizes[0], RARE * (dispersion + noisy) / 2 / (1 - busy))
    for span, came, formed in zip(spans[1:], sizes, sizes[1:], strict=False):
        parts = np.maximum(0, came - (1 - busy) * span.replicas * formed)
        ahead = ahead + formed + np.where(came > formed, parts, 0)
    served_ns = sum(span.served_ns[at] for at, span in zip(places, spans, strict=True))
    variance = sum(span.variance[at] for at, span in zip(places, spans, strict=True))
    total_ns = np.where(fits, served_ns + Z_99 * np.sqrt(variance) + ahead / rates, np.inf)
    kept = np.flatnonzero(total_ns.min(axis=1) <= objective_ns)
    if not len(kept):
        return 0.0, None
    row = int(kept[0])
    column = int(total_ns[row].argmin())
    return float(rates[row, 0]), [int(b[row, column]) for b in sizes]
