"""A lower bound for several replicas: unlimited replicas, as many as there are busy on average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from policies.smdp_model import Float64, UnstableError, Weights

NAME = "unlimited replicas, as many as there are busy on average"


@dataclass(frozen=True, slots=True)
class Relaxed:
    """What no policy can be better than, and how the relaxed stage would batch."""

    paid_s: float
    """What a request costs at least, in seconds."""
    shares: tuple[tuple[int, float], ...]
    """(batch size, share of the requests that go in such batches) of the relaxed optimum."""
    price: float
    """What a busy second would have to cost for so few replicas to be enough."""


def relaxed(rate_hz: float, mean_s: Float64, servers: int, weights: Weights) -> Relaxed:
    """The bound for ``servers`` replicas and ``mean_s`` (B + 1,) by batch size, under Poisson arrivals.

    A stage of R replicas has at most R batches under way at each moment, so R at most on average. With
    that alone asked for, and a price y on busy time in its place, a batch starts when it is formed, and
    the best is to form batches of one size b. That costs a request

        J(b, y) = w (l(b) + (b - 1) / (2 rate)) + (v + y) l(b) / b + c / b

    with w, v and c the weights of latency, busy time and batches: the relative value h(n) = n min J -
    w n (n - 1) / (2 rate) of n waiting requests solves the optimality equation. By weak duality
    max over y >= 0 of min over b of J(b, y) - y R / rate is below what any policy pays; computed as the
    linear program over shares of the requests by batch size whose dual it is. The excess over an
    objective is at least 0 and left out.

    Raises UnstableError where no batches are large enough for the rate.
    """
    from scipy.optimize import linprog

    sizes = np.arange(1, len(mean_s))
    each_s = mean_s[1:] / sizes
    waits_s = (sizes - 1) / (2 * rate_hz)
    paid_s = weights.latency * (mean_s[1:] + waits_s) + weights.busy * each_s
    paid_s = paid_s + weights.batch_s / sizes
    allowed_s = servers / rate_hz
    if each_s.min() >= allowed_s:
        raise UnstableError(
            f"no steady state: {rate_hz:,.1f} requests/s come and at most"
            f" {servers / each_s.min():,.1f}/s can be served"
        )
    # Scaled to numbers near 1, where the solver's tolerances mean something.
    unit_s = float(mean_s[1:].min())
    found = linprog(
        paid_s / unit_s,
        A_ub=each_s[None, :] / allowed_s,
        b_ub=[1.0],
        A_eq=np.ones((1, len(sizes))),
        b_eq=[1.0],
        method="highs",
    )
    if found.status != 0 or found.x is None:
        raise ArithmeticError(f"the linear program of the bound was not solved: {found.message}")
    # The dual value is a bound whatever the solver's tolerances: its minimum is taken afresh.
    price = max(0.0, -float(found.ineqlin.marginals[0])) * unit_s / allowed_s
    bound_s = float((paid_s + price * each_s).min()) - price * allowed_s
    used = np.flatnonzero(found.x > 1e-9)
    return Relaxed(bound_s, tuple((int(sizes[at]), float(found.x[at])) for at in used), price)
