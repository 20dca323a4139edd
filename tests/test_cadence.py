"""Cadence: its plans satisfy their inequalities, no hold runs into the deadline, and it knows its place."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
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
from policies.cadence_model import RARE, Model
from policies.cadence_plan import ObjectiveError, StagePlan, plan_for
from policies.cadence_trains import UTILIZATIONS, divided
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
    caps = [stage.cap for stage in plan.stages]
    assert all(1 <= cap <= 64 for cap in caps)
    starts = [k for k, stage in enumerate(plan.stages) if stage.pace_ns]
    assert len(set(caps)) == 1 or slots is None
    for first, after in pairwise([*starts, len(costs)]):
        # The pace leaves those with several servers a fifth of their time, whatever the size.
        for size, pace_ns in enumerate(plan.stages[first].pace_ns[1:], start=1):
            paced_ns = model.paced_ns(size, range(first, after))
            assert pace_ns * 0.8 == pytest.approx(paced_ns, abs=1)
    if len(set(caps)) > 1:
        return
    (cap,) = set(caps)
    interval_ns, servers = model.interval_ns(cap)
    slack_ns = objective_ns - model.served_ns(cap)
    if plan.rate_hz and servers > 1:
        # What it predicts holds: service, and the wait for a batch to form or for the queue's rare length.
        busy = plan.rate_hz / 1e9 * interval_ns / cap
        assert interval_ns / 0.8 <= slack_ns
        if busy > 0.5 + 1e-9:
            ahead = RARE * (1 + cap * cv**2) / 2 / (1 - busy)
            assert ahead / (plan.rate_hz / 1e9) == pytest.approx(slack_ns)
        assert all(model.rate_hz(b, objective_ns, 1.0) <= plan.rate_hz for b in range(1, 65))
    elif cap > 1:
        assert slack_ns >= 0


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
        assert {(stage.cap, stage.pace_ns) for stage in plan.stages} == {(64, ())}


UNEVEN = ((3.0, 0.02), (0.3, 0.2), (1.0, 0.3))
"""Few servers that need large batches before many that are quick with small ones."""


@given(
    costs=st.lists(times, min_size=2, max_size=4),
    replicas=st.lists(st.integers(1, 30), min_size=4, max_size=4),
    room=st.floats(1.0, 8.0),
    cv=st.floats(0, 0.5),
)
def test_trains_keep_the_objective_and_leave_servers_idle(
    costs: list[tuple[float, float]], replicas: list[int], room: float, cv: float
) -> None:
    pipeline = chain(tuple(costs), tuple(replicas[: len(costs)]))
    model = Model(pipeline, (cv,) * len(costs))
    objective_ns = math.ceil(model.path_ns(1) * room)
    found = divided(model, objective_ns, 1.0)
    if found is None:
        return
    assert len(found.trains) > 1
    assert [first for first, _, _ in found.trains[1:]] == [end for _, end, _ in found.trains[:-1]]
    assert (found.trains[0][0], found.trains[-1][1]) == (0, len(costs))
    served_ns = 0.0
    for first, after, cap in found.trains:
        for stage in pipeline.stages[first:after]:
            served_ns += stage.predict_ns(cap)
            busy = found.rate_hz / 1e9 * stage.predict_ns(cap) / stage.replicas / cap
            assert busy <= max(UTILIZATIONS) + 1e-9
    # A batch is formed anew at each train: the objective has room for that beside the service.
    formed_ns = sum(cap for _, _, cap in found.trains) / found.rate_hz * 1e9
    assert served_ns + formed_ns <= objective_ns


def test_where_stages_want_other_sizes_trains_are_formed_anew() -> None:
    pipeline = chain(UNEVEN, (2, 8, 12))
    plan = plan_for(pipeline, 16 * MS, (0.0,) * 3, 0.8, 2.0)
    caps = [stage.cap for stage in plan.stages]
    assert caps[0] > 4 * caps[1]
    assert all(stage.pace_ns for stage in plan.stages)
    shares = {}
    for name, policy in (("trains", "cadence"), ("one", {"kind": "cadence", "cap": 16})):
        config = parse_config(
            {
                "name": "uneven",
                "workload": {"arrivals": f"{0.9 * plan.rate_hz}/s", "requests": 20_000},
                "objective": {"latency": "16ms"},
                "stages": [
                    {
                        "name": f"s{k}",
                        "replicas": count,
                        "max_batch": 64,
                        "policy": policy,
                        "service": {
                            "kind": "affine",
                            "base": f"{base}ms",
                            "per_request": f"{each}ms",
                        },
                    }
                    for k, ((base, each), count) in enumerate(zip(UNEVEN, (2, 8, 12), strict=True))
                ],
            }
        )
        shares[name] = late(simulate(config), 16 * MS)
    assert shares["trains"] <= 0.01
    assert shares["one"] > 0.5


def test_forks_devices_and_single_servers_have_one_train() -> None:
    whole = chain(UNEVEN, (1, 1, 1))
    shared = chain(UNEVEN, (4, 4, 4), slots=4)
    root, left, right = chain(UNEVEN, (2, 8, 12)).stages
    forked = Pipeline((root, left, replace(right, parents=(root.name,))))
    for pipeline in (whole, shared, forked):
        assert divided(Model(pipeline, (0.0,) * 3), 60 * MS, 2.0) is None


def test_a_batch_that_costs_more_a_request_is_not_formed() -> None:
    """Sixty-four cost more than twice thirty-two."""

    def predict_ns(requests: int) -> int:
        return requests and round((1 + 0.05 * requests + 0.05 * max(0, requests - 32)) * MS)

    single = Stage("rank", Cadence(), predict_ns, 1, 64)
    (own,) = plan_for(Pipeline((single,)), 60 * MS, (0.0,), 0.8, 2.0).stages
    assert own == StagePlan(32, ())


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
    assert noisy.stages[0].cap < calm.stages[0].cap
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
    assert plan.stages[0].cap <= 10
