"""Configurations to plan, closed forms to hold plans against, and trying everything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import delayline.loading  # noqa: F401  (makes every kind known)
from configs.load import parse_config
from configs.model import Config
from delayline.planning import latency_ms
from policies.fixed import Fixed
from sim.backends.threads import Threads
from sim.planning.demand import demand_of
from sim.planning.evaluate import Evaluator
from sim.planning.plan import Plan, planned_of
from sim.planning.problem import Candidate, Choice, Planned, Settings
from sim.planning.verify import Verifier

CONFIRM = 4
EXPONENTIAL = {"max_batch": 1, "service": {"kind": "exponential", "mean": "10ms"}}


def pipeline(rate: str, objective: dict[str, Any], *stages: dict[str, Any], **more: Any) -> Config:
    """A configuration of stages s0, s1, ... under Poisson arrivals."""
    return parse_config(
        {
            "seed": 5,
            "workload": {"arrivals": rate, "requests": 1},
            "objective": objective,
            "stages": [{"name": f"s{number}", **stage} for number, stage in enumerate(stages)],
            **more,
        }
    )


def within(latency: str, percentile: float = 95) -> dict[str, Any]:
    """An objective."""
    return {"latency": latency, "percentile": percentile}


def affine(base: str, per_request: str) -> dict[str, Any]:
    """A service model whose batches get cheaper by the request."""
    return {"kind": "affine", "base": base, "per_request": per_request}


def counts(found: Plan) -> list[int]:
    """The replicas of the chosen plan, pool by pool."""
    return [choice.count for choice in found.best.candidate.allocation]


def erlang_c(servers: int, load: float) -> float:
    """Chance to wait in M/M/c, by the recursion of Erlang B."""
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def mmc_percentile_s(servers: int, rate_hz: float, service_hz: float, share: float) -> float:
    """The time within which a share of M/M/c's customers leaves.

    P(T > t) = e^-mu t (1 + C (1 - e^-(d - mu) t) / (d / mu - 1)) with d = c mu - lambda and C the chance
    to wait (Kleinrock, "Queueing Systems", volume 1, 1975); by bisection.
    """
    spare_hz = servers * service_hz - rate_hz
    waits = erlang_c(servers, rate_hz / service_hz)

    def late(t: float) -> float:
        gap = (spare_hz - service_hz) * t
        alike = abs(gap) < 1e-9
        ratio = service_hz * t if alike else -math.expm1(-gap) / (spare_hz / service_hz - 1)
        return math.exp(-service_hz * t) * (1 + waits * ratio)

    low, high = 0.0, 1e3 / service_hz
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if late(middle) > 1 - share else (low, middle)
    return high


@dataclass(frozen=True)
class Small:
    """A case small enough to try everything: a configuration, a box of replicas, holds in ms."""

    config: Config
    box: Sequence[range]
    holds_ms: Sequence[float] = (0.0,)
    requests: int = 4000


SMALL = {
    "a tandem of exponential servers": Small(
        pipeline(
            "250/s",
            within("75ms"),
            EXPONENTIAL,
            {"max_batch": 1, "service": {"kind": "exponential", "mean": "6ms"}},
        ),
        [range(3, 7), range(2, 6)],
    ),
    "batches and holds": Small(
        pipeline(
            "900/s",
            within("14ms"),
            {"max_batch": 8, "delay": "2ms", "service": affine("2ms", "500us")},
            {"max_batch": 4, "delay": "2ms", "service": affine("1ms", "1ms")},
            {"max_batch": 8, "delay": "2ms", "service": affine("500us", "100us")},
        ),
        [range(1, 5), range(2, 6), range(1, 3)],
        (0.0, 1.0, 2.0),
    ),
    "a fork and a join": Small(
        pipeline(
            "200/s",
            within("45ms"),
            {"name": "in", "max_batch": 4, "service": affine("2ms", "1ms")},
            {"name": "left", "after": "in", **EXPONENTIAL},
            {"name": "right", "after": "in", "max_batch": 2, "service": affine("6ms", "3ms")},
            {"name": "out", "after": ["left", "right"], "service": "1ms"},
        ),
        [range(1, 3), range(3, 7), range(1, 5), range(1, 3)],
        requests=3000,
    ),
}


def fewest(case: Small) -> tuple[int, Planned]:
    """The fewest replicas of any allocation in the box that verifies, with any holds of the grid."""
    planned = planned_of(case.config, demand_of(case.config), case.requests)
    verifier = Verifier(Evaluator(planned, latency_ms, Threads(1)), case.requests, CONFIRM)
    for size in sorted(itertools.product(*case.box), key=sum):
        allocation = tuple(Choice("", count) for count in size)
        for settings in _settings(planned, case.holds_ms):
            reached = verifier.planned(Candidate(allocation, settings))
            if reached.within(planned.objective_ms):
                return sum(size), planned
    raise AssertionError("nothing in the box meets the objective")


def _settings(planned: Planned, holds_ms: Sequence[float]) -> Iterator[Settings]:
    configured = planned.configured()
    for holds in itertools.product(holds_ms, repeat=len(configured)):
        yield tuple(
            replace(setting, policy=Fixed(round(hold * 1e6)))
            for setting, hold in zip(configured, holds, strict=True)
        )
