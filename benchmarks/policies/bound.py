"""What no policy can pass: the fluid bound on goodput."""

from __future__ import annotations

import numpy as np

from benchmarks.policies.goodput import LATE
from benchmarks.policies.regimes import LARGEST, Regime
from sim.service.base import Float64

STEPS = 40


def fluid_bound(regime: Regime) -> float:
    """A rate, as a share of capacity, that no batching without foresight or with it exceeds; 0 for none.

    A request in time passes batches of sizes b_k with sum over its path of l_k(b_k) <= objective, no wait
    at all. Its work is sum of l_k(b_k) / b_k on what the stage uses. Only ``LATE`` of the requests may be
    served otherwise, at best in no time. For affine times both are convex in b_k (batches may be of
    fractional size), so that equal sizes for all requests in time are best: the bound is the highest rate at
    which sizes exist, chosen by weights on the resources. Computed for chains of affine stages alone.
    """
    stages = regime.config.stages
    if any(stage.after is not None for stage in stages):
        return 0.0
    costs = []
    for stage in stages:
        service = stage.service
        if service.kind != "affine":
            return 0.0
        costs.append((service.base_ns, service.per_request_ns))
    base, each = np.array(costs, float).T
    slack_ns = regime.objective_ns - base.sum()
    if slack_ns <= 0:
        return 0.0
    if regime.config.devices:
        (device,) = regime.config.devices.values()
        # Least work subject to the sum of each * b: b in proportion to sqrt(base / each).
        sizes = _capped(base, each, slack_ns)
        per_request_ns = float((base / sizes + each).sum()) / device.slots
        return 1e9 / per_request_ns / (1 - LATE) / regime.capacity_hz
    servers = np.array([stage.replicas for stage in stages], float)
    low, high = 0.0, 1e9 / float((each / servers).max())
    for _ in range(STEPS):
        rate = (low + high) / 2
        gap = servers / (rate / 1e9) - each  # base / b may be this much
        sizes = np.maximum(base / np.maximum(gap, 1e-9), 1.0)
        fits = (gap > 0).all() and (sizes <= LARGEST).all() and (each * sizes).sum() <= slack_ns
        low, high = (rate, high) if fits else (low, rate)
    return low / (1 - LATE) / regime.capacity_hz


def _capped(base: Float64, each: Float64, slack_ns: float) -> Float64:
    """Sizes of least work, none above ``LARGEST``."""
    free = np.ones(len(base), bool)
    sizes = np.full(len(base), float(LARGEST))
    for _ in base:
        left_ns = slack_ns - float((each * sizes)[~free].sum())
        weights = np.sqrt(base / each)
        sizes[free] = weights[free] * left_ns / float((each * weights)[free].sum())
        over = free & (sizes > LARGEST)
        if not over.any():
            break
        sizes[over] = LARGEST
        free &= ~over
    clipped: Float64 = np.maximum(sizes, 1.0)
    return clipped
