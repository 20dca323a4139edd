"""Why an objective cannot be had: the stage that makes it so, and the best that can be."""

from __future__ import annotations

import math

from sim.planning.bounds import critical_path, least_count, work
from sim.planning.problem import Allocation, Planned, Pool


class InfeasibleError(ValueError):
    """No plan meets the objective; the text names the stage and the best that can be had."""


def check_throughput(planned: Planned) -> None:
    """Raise InfeasibleError for a pool that may not have what the rate needs of it, ValueError where no
    rate needs anything.
    """
    if not any(work(planned, pool, device) for pool in planned.pools for device in pool.prices):
        raise ValueError(
            "no stage takes any time, so that any number of replicas will do; give stages their `service`"
        )
    for pool in planned.pools:
        needed = min(least_count(planned, pool, device) for device in pool.prices)
        if needed > pool.most:
            raise InfeasibleError(
                f"{planned.goal} cannot be had at {planned.rate_hz:,.0f} requests/s: {pool.name} needs"
                f" {pool.what(needed)} or more and may have {pool.most}, which serve"
                f" {_borne_hz(planned, pool):,.0f}/s at most"
            )


def _borne_hz(planned: Planned, pool: Pool) -> float:
    """The highest rate that a pool can serve with all that it may have."""
    return planned.rate_hz * pool.most / min(work(planned, pool, each) for each in pool.prices)


def too_slow(planned: Planned, ample: Allocation, latency_ms: float) -> InfeasibleError:
    """For an objective that is missed with ``ample`` of everything, by the latency that it reaches."""
    scarce = [
        pool.name
        for pool, choice in zip(planned.pools, ample, strict=True)
        if choice.count == pool.most
    ]
    path = critical_path(planned)
    stage, took_ms = path.longest
    best = f"{latency_ms:.4g} ms" if math.isfinite(latency_ms) else "too few answers"
    text = f"{planned.goal} cannot be had at {planned.rate_hz:,.0f} requests/s: the best is {best}"
    if scarce and path.total_ms <= planned.objective_ms:
        return InfeasibleError(
            f"{text}, with all the replicas that {' and '.join(scarce)} may have; allow more of them"
        )
    return InfeasibleError(
        f"{text}, where nothing waits for a replica; {stage} makes it so, at {took_ms:.4g} ms of the"
        f" {path.total_ms:.4g} ms that a request alone is served for"
    )
