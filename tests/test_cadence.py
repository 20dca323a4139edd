"""Cadence: its plans satisfy their inequalities, no hold runs into the deadline, and it knows its place."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim.kinds  # noqa: F401  (makes the kinds known)
from configs.errors import ConfigError
from configs.load import parse_config
from configs.model import Config
from policies.cadence import Cadence
from policies.cadence_plan import RARE, Model, ObjectiveError, plan_for
from policies.contract import NEVER_NS, Dispatch, Hold, View
from policies.immediate import Immediate
from policies.pipeline import Device, Pipeline, Stage
from policies.place import Place
from policies.runlog import RunLog
from sim.simulate import simulate

MS = 1_000_000
COSTS = ((1.0, 0.02), (0.8, 0.05), (3.0, 0.2), (0.5, 0.06))


def affine(base_ms: float, each_ms: float) -> Any:
    def predict_ns(requests: int) -> int:
        return round((base_ms + each_ms * requests) * MS) if requests else 0

    return predict_ns


def chain(
    costs: tuple[tuple[float, float], ...], replicas: tuple[int, ...], slots: int | None = None
) -> Pipeline:
    stages = tuple(
        Stage(
            name=f"s{k}",
            policy=Cadence(),
            predict_ns=affine(*cost),
            replicas=count,
            max_batch=64,
            device=("d",) * count if slots else (),
            parents=(f"s{k - 1}",) if k else (),
        )
        for k, (cost, count) in enumerate(zip(costs, replicas, strict=True))
    )
    return Pipeline(stages, (Device("d", slots),) if slots else ())


def configured(objective: str | None = "14ms", policy: str = "cadence", **more: Any) -> Config:
    """The four stages of the benchmark at six tenths of their capacity."""
    stages = [
        {
            "name": f"s{k}",
            "replicas": count,
            "max_batch": 64,
            "policy": policy,
            "service": {"kind": "affine", "base": f"{base}ms", "per_request": f"{each}ms"},
        }
        for k, ((base, each), count) in enumerate(zip(COSTS, (2, 2, 8, 2), strict=True))
    ]
    raw: dict[str, Any] = {
        "name": "four",
        "workload": {"arrivals": "17700/s", "requests": 20_000},
        "stages": stages,
        **more,
    }
    return parse_config(raw | ({"objective": {"latency": objective}} if objective else {}))


def late(log: RunLog, limit_ns: int) -> float:
    return float(np.mean(log.requests.ended_ns - log.requests.arrival_ns > limit_ns))


times = st.tuples(st.floats(0.1, 5.0), st.floats(0.001, 0.5))


@given(
    costs=st.lists(times, min_size=1, max_size=4),
    replicas=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    slots=st.none() | st.integers(1, 5),
    room=st.floats(1.0, 8.0),
    cv=st.floats(0, 0.5),
)
def test_a_plan_satisfies_its_inequalities(
    costs: list[tuple[float, float]],
    replicas: list[int],
    slots: int | None,
    room: float,
    cv: float,
) -> None:
    pipeline = chain(tuple(costs), tuple(replicas[: len(costs)]), slots)
    model = Model(pipeline, (cv,) * len(costs))
    objective_ns = math.ceil(model.path_ns(1) * room)
    plan = plan_for(pipeline, objective_ns, (cv,) * len(costs), 0.8, 1.0)
    assert 1 <= plan.cap <= 64
    interval_ns, _ = model.interval_ns(plan.cap)
    if plan.pace_ns:
        # What it predicts holds: service, and the wait for a batch to form or for the queue's rare length.
        slack_ns = objective_ns - model.served_ns(plan.cap)
        busy = plan.rate_hz / 1e9 * interval_ns / plan.cap
        assert interval_ns / 0.8 <= slack_ns
        if busy > 0.5 + 1e-9:
            ahead = RARE * (1 + plan.cap * cv**2) / 2 / (1 - busy)
            assert ahead / (plan.rate_hz / 1e9) == pytest.approx(slack_ns)
        # The pace leaves the bottleneck a fifth of its time, whatever the size.
        for size in range(1, plan.cap + 1):
            assert plan.pace_ns[size] * 0.8 == pytest.approx(model.interval_ns(size)[0], abs=1)
        assert all(model.rate_hz(b, objective_ns, 1.0) <= plan.rate_hz for b in range(1, 65))
    elif plan.cap > 1:
        assert model.served_ns(plan.cap) <= objective_ns


@given(
    waiting=st.integers(1, 30),
    age_ns=st.integers(0, 20 * MS),
    since_ns=st.integers(0, 20 * MS),
    last=st.integers(0, 30),
    margin=st.floats(1.0, 2.0),
    deadline_ns=st.none() | st.integers(0, 60 * MS),
)
def test_no_hold_runs_into_the_deadline(
    waiting: int, age_ns: int, since_ns: int, last: int, margin: float, deadline_ns: int | None
) -> None:
    pipeline = chain(COSTS, (2, 2, 8, 2))
    policy = Cadence(margin=margin).planned(Place(pipeline, 0, 14 * MS))
    now_ns = 40 * MS
    service_ns = tuple(map(pipeline.stages[0].predict_ns, range(65)))
    downstream_ns = tuple(sum(s.predict_ns(n) for s in pipeline.stages[1:]) for n in range(65))
    values: dict[str, Any] = dict.fromkeys(View._fields, 0) | {
        "waiting": waiting,
        "sendable": waiting,
        "max_batch": 64,
        "last_dispatch_ns": now_ns - since_ns,
        "service_ns": service_ns,
        "downstream_ns": downstream_ns,
        "head_arrival_ns": now_ns - age_ns,
        "head_deadline_ns": NEVER_NS if deadline_ns is None else deadline_ns,
    }
    decision = policy.decide(View(**values), now_ns, [last])
    if isinstance(decision, Dispatch):
        assert decision.requests == min(waiting, policy.cap)
        return
    assert isinstance(decision, Hold)
    assert waiting < decision.size <= policy.cap
    due_ns = min(values["head_deadline_ns"], now_ns - age_ns + 14 * MS)
    # Even a batch that grows until it is asked again is sent in time.
    assert decision.until_ns <= due_ns - (service_ns[decision.size] + downstream_ns[decision.size])
    assert decision.until_ns <= now_ns - since_ns + max(policy.pace_ns)


def test_the_predicted_goodput_is_near_the_simulated_one() -> None:
    pipeline = chain(COSTS, (2, 2, 8, 2))
    rate_hz = plan_for(pipeline, 14 * MS, (0.0,) * 4, 0.8, 1.0).rate_hz
    shares = []
    for factor in (0.93, 1.07):
        config = configured(workload={"arrivals": f"{factor * rate_hz}/s", "requests": 40_000})
        shares.append(late(simulate(config), 14 * MS))
    assert shares[0] <= 0.01 < shares[1]


@pytest.mark.parametrize("load", [0.05, 0.2, 0.4, 0.6, 0.68])
def test_the_objective_is_kept_at_every_load(load: float) -> None:
    config = configured(workload={"arrivals": f"{load * 29_493}/s", "requests": 20_000})
    log = simulate(config)
    assert log.info["engine"] == "compiled"
    assert late(log, 14 * MS) <= 0.01


def test_greedy_is_late_where_cadence_is_not() -> None:
    assert late(simulate(configured()), 14 * MS) <= 0.01
    assert late(simulate(configured(policy="immediate")), 14 * MS) > 0.2


def test_with_a_single_server_nothing_is_held() -> None:
    for pipeline in (chain(COSTS, (1, 1, 1, 1)), chain(COSTS, (1, 1, 1, 1), slots=1)):
        plan = plan_for(pipeline, 80 * MS, (0.0,) * 4, 0.8, 1.0)
        assert plan.pace_ns == ()
        assert plan.cap == 64


def test_later_stages_pass_on_what_comes() -> None:
    pipeline = chain(COSTS, (2, 2, 8, 2))
    first, second = (Cadence().planned(Place(pipeline, k, 14 * MS)) for k in (0, 1))
    assert len(first.pace_ns) == first.cap + 1
    assert second.pace_ns == ()
    assert second.cap == first.cap
    assert first.planned(Place(pipeline, 0, 14 * MS)) == first


def test_knobs_that_are_given_stay() -> None:
    pipeline = chain(COSTS, (2, 2, 8, 2))
    given = Cadence(cap=9, pace_ns=(0, 5), objective_ns=20 * MS)
    found = given.planned(Place(pipeline, 0, 14 * MS))
    assert (found.cap, found.pace_ns, found.objective_ns) == (9, (0, 5), 20 * MS)


def test_without_an_objective_it_paces_up_to_the_largest_batch() -> None:
    config = configured(objective=None)
    log = simulate(config)
    assert max(stage.batches.requests.max() for stage in log.stages) <= 64
    greedy = simulate(configured(objective=None, policy="immediate"))
    batches = [sum(len(stage.batches.batch) for stage in each.stages) for each in (log, greedy)]
    assert batches[0] < batches[1]


def test_a_deadline_stands_for_an_objective_that_is_not_given() -> None:
    work = {"arrivals": "17700/s", "requests": 20_000, "deadline": "14ms"}
    assert late(simulate(configured(objective=None, workload=work)), 14 * MS) <= 0.01


@pytest.mark.parametrize("rate", ["50/s", "1500/s"])
def test_for_cost_it_holds_up_to_the_deadline_and_no_further(rate: str) -> None:
    """Loads at which nothing queues: then a hold is the only wait, and ends in time."""
    slow = Cadence(utilization=0.001, margin=1.0)
    base = configured(workload={"arrivals": rate, "requests": 3000})
    config = replace(base, stages=tuple(replace(stage, policy=slow) for stage in base.stages))
    log, greedy = (
        simulate(config),
        simulate(configured(workload=base_work(rate), policy="immediate")),
    )
    took_ns = log.requests.ended_ns - log.requests.arrival_ns
    assert (took_ns <= 14 * MS).mean() > 0.98
    assert busy_ns(log) < 0.8 * busy_ns(greedy)


def base_work(rate: str) -> dict[str, Any]:
    return {"arrivals": rate, "requests": 3000}


def busy_ns(log: RunLog) -> int:
    return sum(int((s.batches.finished_ns - s.batches.started_ns).sum()) for s in log.stages)


def test_an_objective_below_a_single_request_is_refused() -> None:
    with pytest.raises(ObjectiveError, match=r"5 ms: a single request takes 5\.63 ms"):
        plan_for(chain(COSTS, (2, 2, 8, 2)), 5 * MS, (0.0,) * 4, 0.8, 1.0)
    with pytest.raises(ConfigError) as raised:
        simulate(configured(objective="5ms"))
    assert "stages.s0.policy" in str(raised.value)
    assert "raise the objective" in str(raised.value)


def test_noise_and_forks_leave_room() -> None:
    noisy = plan_for(chain(COSTS, (2, 2, 8, 2)), 22 * MS, (0.3,) * 4, 0.8, 1.0)
    calm = plan_for(chain(COSTS, (2, 2, 8, 2)), 22 * MS, (0.0,) * 4, 0.8, 1.0)
    assert noisy.cap < calm.cap
    # Branches that share a device may have to wait for one another.
    root = Stage("a", Immediate(), affine(1, 0.1), 4, 64, device=("d",) * 4)
    left, right = (replace(root, name=name, parents=("a",)) for name in "bc")
    shared = Model(Pipeline((root, left, right), (Device("d", 4),)), (0.0,) * 3)
    own = tuple(replace(stage, device=()) for stage in (root, left, right))
    assert own[0].device == ()
    apart = Model(Pipeline(own), (0.0,) * 3)
    assert apart.path_ns(10) == 4 * MS
    assert shared.path_ns(10) == 5 * MS


def test_a_stage_that_takes_less_than_the_train_runs_it_in_pieces() -> None:
    pipeline = chain(((1.0, 0.1),), (4,))
    (stage,) = pipeline.stages
    small = Pipeline((replace(stage, max_batch=10),))
    assert Model(small, (0.0,)).interval_ns(20)[0] == pytest.approx(2 * 2 * MS / 4)
    plan = plan_for(small, 14 * MS, (0.0,), 0.8, 1.0)
    assert plan.cap <= 10
