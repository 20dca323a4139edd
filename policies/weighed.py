"""Policies that are optimal for given weights: what is paid, and the decision process of their stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from policies.contract import RulePolicy
from policies.knobs import knob
from policies.place import Place
from policies.smdp_model import BatchQueue, UnstableError, Weights, gamma_queue

NS_PER_S = 1e9
LONGEST_HOLD_NS = 1_000_000_000
"""Where a hold is to end that no one has planned."""
NEVER_CHANCE = 1e-9
"""Chance that a planned hold ends by its time."""


@dataclass(frozen=True, slots=True)
class Weighed(RulePolicy):
    """What a request costs is the weighted sum of its latency, of the replica's time and of its batch."""

    rate_hz: float | None = knob(
        "arrival rate to be optimal for; the workload's mean rate by default",
        default=None,
        gt=0,
        le=1e9,
    )
    latency_weight: float = knob("cost of a request's latency", default=1.0, ge=0, le=1e9)
    busy_weight: float = knob("cost of the replica's time for it", default=0.0, ge=0, le=1e9)
    batch_cost_ns: int = knob(
        "cost of a batch beside, as the latency of one request that is worth as much",
        default=0,
        ge=0,
        le=86_400_000_000_000,
    )
    excess_weight: float = knob(
        "cost of time beyond the objective, by the requests in the stage beyond those that come within it",
        default=0.0,
        ge=0,
        le=1e9,
    )
    delay_ns: int = knob(
        "longest that the oldest request is held all the same; 0 stands for so long that it next to never"
        " counts",
        default=0,
        ge=0,
    )

    def check_weights(self) -> None:
        """Raise ValueError where nothing costs anything."""
        weights = (self.latency_weight, self.busy_weight, self.batch_cost_ns, self.excess_weight)
        if not any(weights):
            raise ValueError(
                "latency_weight, busy_weight, batch_cost and excess_weight are all 0, so that every policy"
                " is optimal; raise one"
            )

    def problem(self, place: Place) -> tuple[BatchQueue, Weights]:
        """The decision process of a place and what is paid. Raises ValueError where there is none."""
        stage = place.stage
        if stage.replicas != 1:
            raise ValueError(
                f"{self.kind} is optimal for one replica, and there are {stage.replicas}; leave it to a"
                " stage of one, or give the rule itself"
            )
        if self.excess_weight and place.objective_ns is None:
            raise ValueError("excess_weight needs an objective; give `objective: {latency: ...}`")
        mean_ns = tuple(stage.predict_ns(size) for size in range(1, stage.max_batch + 1))
        weights = Weights(
            self.latency_weight,
            self.busy_weight,
            self.batch_cost_ns / NS_PER_S,
            self.excess_weight,
            (place.objective_ns or 0) / NS_PER_S,
        )
        try:
            return _queue(self.rate_at(place), mean_ns, place.cv(place.index)), weights
        except UnstableError as error:
            raise UnstableError(
                f"{error}; give {self.kind} a `rate` below that, or take another policy"
            ) from None

    def rate_at(self, place: Place) -> float:
        """The rate to be optimal for. Raises ValueError where nobody knows it."""
        rate_hz = self.rate_hz or place.rate_hz
        if rate_hz is None:
            raise ValueError(
                f"{self.kind} needs an arrival rate, and this workload has none; give `rate`"
            )
        return rate_hz


@lru_cache(maxsize=64)
def _queue(rate_hz: float, mean_ns: tuple[int, ...], cv: float) -> BatchQueue:
    return gamma_queue(rate_hz, np.array([0, *mean_ns]) / NS_PER_S, cv)


def patience_ns(rate_hz: float, requests: int) -> int:
    """So long that ``requests`` next to surely arrive within it."""
    from scipy.stats import gamma

    return int(gamma.isf(NEVER_CHANCE, max(requests, 1)) / rate_hz * NS_PER_S)


def hold_ends_ns(oldest_enqueued_ns: int, delay_ns: int) -> int:
    """When a hold without a size ends."""
    return oldest_enqueued_ns + (delay_ns if delay_ns > 0 else LONGEST_HOLD_NS)
