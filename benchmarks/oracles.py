"""The simulator against theory: each closed form beside the interval of replicated runs.

Run ``python -m benchmarks.oracles``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import sim.kinds  # noqa: F401  (makes the kinds known)
from benchmarks import queueing
from configs.load import parse_config
from policies.runlog import Outcome, RunLog
from policies.smdp_model import Weights, gamma_queue
from policies.smdp_solver import solve
from sim.simulate import simulate
from sim.statistics import Interval, mean_interval

Statistic = Callable[[RunLog, slice], float]
"""A figure of a run, from the requests with these ids; in seconds where it is a time."""

WARMUP = 0.1
TAIL = 50
"""Requests cut off at the end: a hold without an end waits there for arrivals that do not come."""
LEVEL = 0.99
NS = 1e9
FOREVER = "1000h"
NO_CAP = 1024
"""Far more than ever wait in these queues."""


@dataclass(frozen=True, slots=True)
class Oracle:
    """A configuration and what theory says of it."""

    name: str
    exact: float
    config: dict[str, Any]
    statistic: Statistic

    def measure(self, requests: int, replications: int, level: float = LEVEL) -> Interval:
        """The interval over replications of so many requests each, a tenth cut off as warm-up."""
        config = parse_config(
            {"name": "oracle", **self.config}, overrides=[f"workload.requests={requests}"]
        )
        counted = slice(int(WARMUP * requests), requests - TAIL)
        values = [
            self.statistic(simulate(config, replication=number), counted)
            for number in range(replications)
        ]
        return mean_interval(values, level)


def latency(log: RunLog, counted: slice) -> float:
    """Mean latency; every request of these runs completes."""
    if not (log.requests.outcome == Outcome.COMPLETED).all():
        raise ValueError("a request did not complete")
    return float((log.requests.ended_ns - log.requests.arrival_ns)[counted].mean() / NS)


def wait(log: RunLog, counted: slice) -> float:
    """Mean wait at the first stage."""
    stage = log.stages[0]
    request = stage.visits.request
    sent = (stage.visits.row >= 0) & (request >= counted.start) & (request < counted.stop)
    dispatched = stage.batches.dispatched_ns[stage.visits.row[sent]]
    return float((dispatched - stage.visits.enqueued_ns[sent]).mean() / NS)


def batch(log: RunLog, counted: slice) -> float:  # noqa: ARG001
    """Mean batch of the first stage."""
    return float(np.mean(log.stages[0].batches.requests))


def stage(name: str, mean: str, kind: str = "exponential", **settings: Any) -> dict[str, Any]:
    """A stage that serves one at a time unless told otherwise."""
    service = settings.pop("service", {"kind": kind, "mean": mean})
    return {"name": name, "max_batch": 1, "service": service, **settings}


def poisson(rate: str) -> dict[str, Any]:
    """A Poisson workload."""
    return {"arrivals": {"kind": "poisson", "rate": rate}, "requests": 1}


def oracles() -> Iterator[Oracle]:
    """All rows, by number in the list of closed forms."""
    yield from _greedy()
    yield from _holds()
    yield from _classic()
    yield from _fans()
    yield from _optimal()


def _greedy() -> Iterator[Oracle]:
    unit = (1.0, 1.0)
    for rate, (alpha, tau), cap in (
        (0.5, unit, NO_CAP),
        (0.8, unit, NO_CAP),
        (3.0, (0.143, 1.874), NO_CAP),
        (0.5, unit, 4),
    ):

        def service(size: int, alpha: float = alpha, tau: float = tau) -> float:
            return alpha * size + tau

        # One second of theory is a millisecond here.
        affine = {"kind": "affine", "base": f"{tau}ms", "per_request": f"{alpha}ms"}
        yield Oracle(
            f"{1 if cap == NO_CAP else 2}. greedy, rate {rate}, l(b) = {alpha}b + {tau}"
            + ("" if cap == NO_CAP else f", cap {cap}"),
            queueing.greedy_mean_latency(rate, service, cap) / 1e3,
            {
                "workload": poisson(f"{rate * 1000}/s"),
                "stages": [stage("s", "1ms", service=affine, max_batch=cap)],
            },
            latency,
        )


def _holds() -> Iterator[Oracle]:
    exact_batch, exact_wait = queueing.hold_batch_and_wait(100, 0.010, 8)
    hold = {
        "workload": poisson("100/s"),
        "stages": [
            stage(
                "s",
                "1us",
                "deterministic",
                replicas=64,
                max_batch=8,
                policy={"kind": "fixed", "delay": "10ms"},
            )
        ],
    }
    yield Oracle("3. hold 10 ms or 8: mean batch", exact_batch, hold, batch)
    yield Oracle("3. hold 10 ms or 8: mean wait", exact_wait, hold, wait)
    for rate, mu, least, cap in ((3.0, 1.0, 4, 8), (1.0, 0.5, 1, 4)):
        policy = {"kind": "fixed", "delay": FOREVER, "size": least}
        yield Oracle(
            f"4. M/M^({least},{cap})/1, rate {rate}, mu {mu}: wait",
            queueing.bulk_wait(rate, mu, least, cap) / 1e3,
            {
                "workload": poisson(f"{rate * 1000}/s"),
                "stages": [stage("s", f"{1 / mu}ms", max_batch=cap, policy=policy)],
            },
            wait,
        )


def _classic() -> Iterator[Oracle]:
    yield Oracle(
        "5. M/M/4, rate 3.4: wait",
        queueing.erlang_c_wait(3.4, 1, 4) / 1e3,
        {"workload": poisson("3400/s"), "stages": [stage("s", "1ms", replicas=4)]},
        wait,
    )
    for kind, cv in (
        ("deterministic", 0.0),
        ("exponential", 1.0),
        ("gamma", 0.5),
        ("lognormal", 1.5),
    ):
        service = {"kind": kind, "mean": "1ms"} | (
            {"cv": cv} if kind in ("gamma", "lognormal") else {}
        )
        yield Oracle(
            f"6. M/G/1, {kind}, rate 0.6: wait",
            queueing.pollaczek_khinchine_wait(0.6, 1, cv) / 1e3,
            {"workload": poisson("600/s"), "stages": [stage("s", "1ms", service=service)]},
            wait,
        )
    tandem = ((2, 1.0), (1, 0.5), (3, 2.0))
    yield Oracle(
        "6. tandem of M/M/2, M/M/1, M/M/3, rate 1.2: latency",
        sum(queueing.erlang_c_wait(1.2, 1 / mean, c) + mean for c, mean in tandem) / 1e3,
        {
            "workload": poisson("1200/s"),
            "stages": [
                stage(f"s{k}", f"{mean}ms", replicas=c) for k, (c, mean) in enumerate(tandem)
            ],
        },
        latency,
    )


def _fans() -> Iterator[Oracle]:
    yield Oracle(
        "7. fork-join of two M/M/1, rate 0.5: latency",
        queueing.fork_join_latency(0.5, 1) / 1e3,
        {
            "workload": poisson("500/s"),
            "stages": [
                stage("left", "1ms", after=[]),
                stage("right", "1ms", after=[]),
                stage("join", "0ms", "deterministic", after=["left", "right"]),
            ],
        },
        latency,
    )
    branches = [f"b{k}" for k in range(5)]
    yield Oracle(
        "7. fan-out to five exponentials, unqueued: latency",
        queueing.harmonic(5) / 1e3,
        {
            "workload": poisson("100/s"),
            "stages": [stage(name, "1ms", replicas=32, after=[]) for name in branches],
        },
        latency,
    )


def _optimal() -> Iterator[Oracle]:
    affine = {"kind": "affine", "base": "1ms", "per_request": "500us"}
    mean_s = np.array([1e-3 + 0.5e-3 * b for b in range(17)])
    best = solve(gamma_queue(800.0, mean_s, 0.0), Weights(busy=3.0))
    yield Oracle(
        "8. optimum for latency and three times busy: latency",
        best.figures.latency_s,
        {
            "workload": poisson("800/s"),
            "stages": [
                stage(
                    "s",
                    "1ms",
                    service=affine,
                    max_batch=16,
                    policy={"kind": "smdp", "busy_weight": 3.0},
                )
            ],
        },
        latency,
    )
    # Batches of one time whatever their size: the optimum is a control limit.
    best = solve(gamma_queue(3000.0, np.full(9, 1e-3), 1.0), Weights(batch_s=5e-3))
    yield Oracle(
        "8. optimum with 5 ms a batch, exponential: mean batch",
        1 / best.figures.batches,
        {
            "workload": poisson("3000/s"),
            "stages": [
                stage(
                    "s",
                    "1ms",
                    max_batch=8,
                    policy={"kind": "control_limit", "batch_cost": "5ms"},
                )
            ],
        },
        batch,
    )


def main() -> None:
    """Print the table."""
    outside = 0
    rows = list(oracles())
    for oracle in rows:
        interval = oracle.measure(requests=50_000, replications=20)
        inside = oracle.exact in interval
        outside += not inside
        scale, unit = (1, "") if "batch" in oracle.name else (1e3, " ms")
        print(
            f"{oracle.name:62s} exact {oracle.exact * scale:9.5f}{unit}  simulated"
            f" {interval.estimate * scale:9.5f} [{interval.low * scale:.5f},"
            f" {interval.high * scale:.5f}]  {'inside' if inside else 'OUTSIDE'}"
        )
    print(f"{len(rows) - outside} of {len(rows)} inside their {LEVEL:.0%} interval")


if __name__ == "__main__":
    main()
