"""The optimum against simulation, and bounds against what policies and exhaustive search reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.kinds  # noqa: F401  (makes the kinds known)
from configs.load import parse_config
from configs.model import Config
from delayline.foresight import service_times_ns
from delayline.optimum import with_table
from delayline.runs import run_of
from policies.runlog import Int64
from policies.smdp_model import UnstableError, Weights, gamma_queue
from policies.smdp_solver import solve
from reports.steady import Steady, steady
from sim.optimum.clairvoyant import TooLongError, at_most_late, fewest_late, least_latency
from sim.optimum.one_stage import NoOptimumError, OneStage, one_stage
from sim.optimum.relaxation import relaxed
from sim.simulate import simulate, workload_of
from sim.statistics import mean_interval

AFFINE = {"kind": "affine", "base": "1ms", "per_request": "500us"}
LEVEL = 0.999


def config(
    service: object = AFFINE, policy: object = "immediate", rate: int = 900, **stage: Any
) -> Config:
    """One stage with Poisson arrivals."""
    return parse_config(
        {
            "name": "one",
            "workload": {"arrivals": f"{rate}/s", "requests": 20_000},
            "objective": {"latency": "8ms"},
            "warmup": "5%",
            "stages": [
                {"name": "s", "max_batch": 12, "service": service, "policy": policy, **stage}
            ],
        }
    )


def stage_of(asked: Config) -> OneStage:
    return one_stage(asked, workload_of(asked))


def runs(asked: Config, replications: int = 6) -> Iterator[Steady]:
    rate_hz = asked.workload.arrivals.mean_rate_hz()
    for replication in range(replications):
        log = simulate(asked, replication=replication)
        yield steady(run_of(asked, log), rate_hz, left_out=2 * asked.stages[0].max_batch)


@pytest.mark.parametrize(
    "service",
    [
        AFFINE,
        {"kind": "exponential", "mean": "1.5ms"},
        {"kind": "gamma", "mean": "2ms", "cv": 0.5},
        {"kind": "affine", "base": "1ms", "per_request": "200us", "cv": 0.6},
        {"kind": "empirical", "samples": ["1ms", "1.5ms", "4ms", "500us"], "block": 1},
    ],
    ids=lambda service: service["kind"],
)
def test_what_is_predicted_is_what_is_simulated(service: dict[str, Any]) -> None:
    stage = stage_of(config(service))
    paid = Weights(busy=2.0, batch_s=0.001, excess=1.0, objective_s=0.008)
    found = solve(stage.queue(), paid)
    seen = [each.figures for each in runs(with_table(stage, found.table))]
    for name in ("latency_s", "busy_s", "batches", "excess_s"):
        interval = mean_interval([getattr(each, name) for each in seen], LEVEL)
        assert getattr(found.figures, name) in interval, name
    assert found.paid_s in mean_interval([paid.paid_s(each) for each in seen], LEVEL)


def test_the_configured_optimum_is_the_one_that_is_compared() -> None:
    planned = config(policy={"kind": "smdp", "busy_weight": 3})
    stage = stage_of(planned)
    table = solve(stage.queue(), Weights(busy=3)).table
    own, compared = simulate(planned), simulate(with_table(stage, table))
    assert (own.requests.ended_ns == compared.requests.ended_ns).all()


@settings(max_examples=30)
@given(
    load=st.floats(0.05, 0.95),
    cap=st.integers(1, 8),
    tau=st.floats(0, 2),
    busy=st.floats(0, 5),
    batch_s=st.floats(0, 2),
)
def test_the_relaxation_is_below_the_optimum_of_one_replica(
    load: float, cap: int, tau: float, busy: float, batch_s: float
) -> None:
    mean_s = np.array([b + tau for b in range(cap + 1)])
    rate_hz = load * cap / mean_s[cap]
    paid = Weights(busy=busy, batch_s=batch_s)
    found = solve(gamma_queue(rate_hz, mean_s, 0.0), paid)
    bound = relaxed(rate_hz, mean_s, 1, paid)
    assert bound.paid_s <= found.paid_s * (1 + 1e-9)
    assert sum(share for _, share in bound.shares) == pytest.approx(1)


@pytest.mark.parametrize("policy", ["immediate", {"kind": "fixed", "delay": "1ms", "size": 3}])
@pytest.mark.parametrize("rate", [1500, 5000])
def test_the_relaxation_is_below_what_several_replicas_reach(policy: object, rate: int) -> None:
    stage = stage_of(config(policy=policy, rate=rate, replicas=4))
    paid = Weights(busy=1.0)
    bound_s = relaxed(stage.rate_hz, stage.mean_s(), stage.servers, paid).paid_s
    reached = [paid.paid_s(each.figures) for each in runs(stage.config, 2)]
    assert bound_s < min(reached)
    assert bound_s > 0.4 * min(reached)


def test_at_light_load_the_relaxation_is_what_single_requests_cost() -> None:
    mean_s = np.array([0, 1.0, 1.5])
    assert relaxed(0.01, mean_s, 4, Weights(busy=2)).paid_s == pytest.approx(1 + 2)
    with pytest.raises(UnstableError, match=r"at most 5\.3/s"):
        relaxed(6.0, mean_s, 4, Weights())


def schedules(arrival_ns: list[int], service_ns: Int64) -> Iterator[list[int]]:
    """When each request is answered, for every way to cut all requests into batches."""
    most = len(service_ns) - 1

    def cut(start: int, free_ns: int) -> Iterator[list[int]]:
        if start == len(arrival_ns):
            yield []
        for b in range(1, min(most, len(arrival_ns) - start) + 1):
            end_ns = max(free_ns, arrival_ns[start + b - 1]) + int(service_ns[b])
            for rest in cut(start + b, end_ns):
                yield [end_ns] * b + rest

    yield from cut(0, 0)


def subsets(arrival_ns: list[int]) -> Iterator[list[int]]:
    for mask in range(2 ** len(arrival_ns)):
        yield [each for at, each in enumerate(arrival_ns) if mask >> at & 1]


traces = st.lists(st.integers(0, 12), min_size=1, max_size=7).map(
    lambda gaps: np.cumsum(np.array(gaps, np.int64))
)
services = st.lists(st.integers(1, 15), min_size=1, max_size=4).map(
    lambda times: np.array([0, *sorted(times)], np.int64)
)


@given(traces, services)
def test_the_least_latency_is_that_of_the_best_schedule(
    arrival_ns: Int64, service_ns: Int64
) -> None:
    tried = min(sum(ends) for ends in schedules(arrival_ns.tolist(), service_ns))
    assert least_latency(arrival_ns, service_ns).value == tried - arrival_ns.sum()


@settings(max_examples=40)
@given(traces, services, st.integers(1, 40))
def test_the_fewest_late_are_those_of_the_best_choice_and_schedule(
    arrival_ns: Int64, service_ns: Int64, objective_ns: int
) -> None:
    """Any requests may be left to the end, and the others must all be in time."""

    def in_time(chosen: list[int]) -> bool:
        return any(
            all(end <= came + objective_ns for end, came in zip(ends, chosen, strict=True))
            for ends in schedules(chosen, service_ns)
        )

    most = max(len(chosen) for chosen in subsets(arrival_ns.tolist()) if in_time(chosen))
    found = fewest_late(arrival_ns, service_ns, objective_ns)
    assert at_most_late(arrival_ns, service_ns, objective_ns, found.value)
    assert found.value == 0 or not at_most_late(
        arrival_ns, service_ns, objective_ns, found.value - 1
    )
    assert found.value == len(arrival_ns) - most


def test_more_late_requests_than_were_expected_are_counted_too() -> None:
    arrival_ns = np.arange(0, 100, dtype=np.int64)
    assert fewest_late(arrival_ns, np.array([0, 10]), 10).value == 90


@pytest.mark.parametrize("policy", ["immediate", {"kind": "control_limit", "limit": 3}])
def test_no_policy_is_better_than_foresight(policy: object) -> None:
    asked = config(policy=policy, rate=1400)
    asked = replace(asked, workload=replace(asked.workload, requests=2000))
    log = simulate(asked)
    took_ns = log.requests.ended_ns - log.requests.arrival_ns
    service_ns = service_times_ns(stage_of(asked))
    least = least_latency(log.requests.arrival_ns, service_ns)
    assert least.value <= took_ns.sum() < 1.5 * least.value
    late = fewest_late(log.requests.arrival_ns, service_ns, 8_000_000)
    assert late.value <= (took_ns > 8_000_000).sum()


def test_too_long_a_trace_is_refused() -> None:
    with pytest.raises(TooLongError, match="takes 1 to 100,000 requests, not 100,001"):
        least_latency(np.arange(100_001), np.array([0, 1]))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("stages.s.queue_bound=9", "may leave requests without an answer"),
        ("workload.items={kind: uniform, low: 1, high: 9}", "requests of 1 to 9 items"),
        ("workload.arrivals={kind: closed, clients: 3, think: 1ms}", "closed arrivals"),
        ("stages.s.service=0ms", "batches that take no time"),
    ],
)
def test_what_theory_does_not_cover_is_refused(changed: str, told: str) -> None:
    asked = config()
    changed_config = parse_config(
        {
            "name": "one",
            "workload": {"arrivals": "900/s", "requests": 100},
            "stages": [{"name": "s", "service": AFFINE}],
        },
        overrides=[changed],
    )
    assert one_stage(asked, workload_of(asked)).poisson
    with pytest.raises(NoOptimumError, match=told):
        one_stage(changed_config, workload_of(changed_config))


def test_slots_and_items_bound_what_runs_at_once() -> None:
    asked = parse_config(
        {
            "name": "one",
            "workload": {"arrivals": "900/s", "requests": 100, "items": 10},
            "devices": {"gpu": {"slots": 2}},
            "stages": [
                {
                    "name": "s",
                    "replicas": 5,
                    "device": "gpu",
                    "max_items": 45,
                    "service": {"kind": "affine", "base": "1ms", "per_item": "10us"},
                }
            ],
        }
    )
    found = stage_of(asked)
    assert (found.servers, found.max_batch, found.items) == (2, 4, 10)
    assert found.mean_s()[4] == pytest.approx(0.0014)
