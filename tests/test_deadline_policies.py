"""Policies that drop what cannot be in time: nexus, clockwork, symphony, against their papers' rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import delayline.loading  # noqa: F401  (makes every kind known)
from configs.load import parse_config
from policies.clockwork import Clockwork
from policies.contract import NEVER_NS, Decision, Dispatch, Hold, Policy, Shed, State, View
from policies.immediate import Immediate
from policies.nexus import Nexus
from policies.pipeline import Device, Pipeline, Stage
from policies.runlog import Outcome, RunLog
from policies.symphony import Symphony
from policies.workload import Workload
from sim.engines import Engine
from sim.service.affine import Affine
from sim.service_times import ModelTimes
from sim.simulate import pipeline_for, run, workload_of
from sim.streams import stream

NOW_NS = 1_000
KINDS = (Nexus, Clockwork, Symphony)


def served_ns(requests: int) -> int:
    return 20 + 5 * requests if requests else 0


def view(waiting: int, due_ns: int = NEVER_NS, **changes: Any) -> View:
    """``waiting`` requests, the first due at ``due_ns``; a stage that takes ``served_ns``."""
    seen = View(
        waiting=waiting,
        sendable=min(waiting, 8),
        waiting_items=waiting,
        oldest_enqueued_ns=900,
        earliest_deadline_ns=NEVER_NS,
        idle_replicas=1,
        replicas=1,
        idle_since_ns=0,
        next_idle_ns=NEVER_NS,
        last_dispatch_ns=-1,
        max_batch=8,
        arrival_rate_hz=0.0,
        load=0.0,
        pipeline_load=0.0,
        service_ns=tuple(map(served_ns, range(9))),
        head_arrival_ns=900,
        head_enqueued_ns=900,
        head_deadline_ns=due_ns,
        newest_enqueued_ns=NOW_NS,
        downstream_ns=(0,) * 9,
        batch_oldest_ns=NEVER_NS,
        urgent=0,
    )
    return seen._replace(**changes)


def decided(policy: Policy, seen: View) -> Decision:
    return policy.decide(seen, NOW_NS, policy.initial_state())


def test_nexus_drops_whom_the_target_batch_would_make_late() -> None:
    """Section 6.3: the window stops at the first request with time for the whole batch."""
    assert decided(Nexus(), view(4, NOW_NS + 40)) == Dispatch(4)
    assert decided(Nexus(), view(4, NOW_NS + 39)) == Shed(1)
    assert decided(Nexus(), view(9, NOW_NS + 60)) == Dispatch(8)
    assert decided(Nexus(batch=2), view(9, NOW_NS + 30)) == Dispatch(2)
    assert decided(Nexus(latency_ns=135), view(4)) == Shed(1)
    assert decided(Nexus(), view(4)) == Dispatch(4)


def test_clockwork_makes_the_batch_smaller_and_drops_whom_one_alone_would_make_late() -> None:
    assert decided(Clockwork(), view(4, NOW_NS + 39)) == Dispatch(3)
    assert decided(Clockwork(), view(4, NOW_NS + 25)) == Dispatch(1)
    assert decided(Clockwork(), view(4, NOW_NS + 24)) == Shed(1)
    assert decided(Clockwork(sizes=(1, 2, 4, 8)), view(7, NOW_NS + 100)) == Dispatch(4)
    assert decided(Clockwork(sizes=(4, 1, 2)), view(4, NOW_NS + 39)) == Dispatch(2)
    assert decided(Clockwork(), view(9)) == Dispatch(8)


def test_symphony_waits_until_one_more_would_be_late() -> None:
    """Frontrun = d - l(b + 1), latest = d - l(b)."""
    assert decided(Symphony(), view(3, NOW_NS + 100)) == Hold(NOW_NS + 60, 4)
    assert decided(Symphony(), view(3, NOW_NS + 40)) == Dispatch(3)
    assert decided(Symphony(), view(3, NOW_NS + 34)) == Dispatch(2)
    assert decided(Symphony(), view(3, NOW_NS + 24)) == Shed(1)
    assert decided(Symphony(), view(8, NOW_NS + 500)) == Dispatch(8)
    assert decided(Symphony(), view(3)) == Dispatch(3)
    after = view(3, NOW_NS + 100, downstream_ns=tuple(range(9)))
    assert decided(Symphony(), after) == Hold(NOW_NS + 56, 4)


@pytest.mark.parametrize("kind", KINDS)
@given(
    gaps_ns=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    patience_ns=st.integers(30, 120),
    replicas=st.integers(1, 3),
)
def test_where_service_is_as_predicted_whoever_is_answered_is_in_time(
    kind: type[Policy], gaps_ns: list[int], patience_ns: int, replicas: int
) -> None:
    log = _ran(kind(), gaps_ns, patience_ns, replicas)
    requests = log.requests
    answered = requests.outcome == Outcome.COMPLETED
    assert (requests.ended_ns[answered] <= requests.deadline_ns[answered]).all()
    assert (requests.outcome[~answered] == Outcome.SHED).all()
    if not answered.all():
        assert set(requests.reasons.values()) == {"shed by the policy of rank"}


@given(
    gaps_ns=st.lists(st.integers(0, 30), min_size=1, max_size=60), patience_ns=st.integers(30, 120)
)
def test_clockwork_drops_only_who_was_too_late_when_a_replica_was_free(
    gaps_ns: list[int], patience_ns: int
) -> None:
    requests = _ran(Clockwork(), gaps_ns, patience_ns, 1).requests
    shed = requests.outcome == Outcome.SHED
    assert (requests.ended_ns[shed] + served_ns(1) > requests.deadline_ns[shed]).all()


def _ran(policy: Policy, gaps_ns: list[int], patience_ns: int, replicas: int) -> RunLog:
    arrival_ns = np.cumsum(gaps_ns)
    workload = Workload(
        arrival_ns,
        arrival_ns + patience_ns,
        np.ones_like(arrival_ns),
        np.zeros_like(arrival_ns, np.int8),
    )
    stage = Stage("rank", policy=policy, predict_ns=served_ns, replicas=replicas, max_batch=8)
    times = [ModelTimes(Affine(20, 5), stream(1, 0, "rank"))]
    return run(Pipeline((stage,)), times, workload)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize(
    ("latencies_ns", "expected"),
    [
        ((100, 1000), [[0, 25], [50, 75]]),
        ((1000, 100), [[50, 75], [0, 25]]),
        ((500, 500), [[25, 75], [0, 50]]),  # of two in the same hurry the one downstream
    ],
)
def test_symphony_serves_the_model_whose_latest_time_is_first(
    latencies_ns: tuple[int, int], expected: list[list[int]], engine: Engine
) -> None:
    """arXiv 2308.07470, section 3: of the candidates a free GPU takes the one with the earliest latest."""
    stages = tuple(
        Stage(name, Symphony(latency_ns), served_ns, device=("gpu",))
        for name, latency_ns in zip("ab", latencies_ns, strict=True)
    )
    times = [ModelTimes(Affine(20, 5), stream(1, 0, stage.name)) for stage in stages]
    workload = Workload.of(np.array([0, 1]))
    log = run(Pipeline(stages, (Device("gpu", 1),)), times, workload, engine=engine)
    assert [stage.batches.dispatched_ns.tolist() for stage in log.stages] == expected


@dataclass(frozen=True, slots=True)
class Backwards(Policy):
    """Sends at once; of two stages the one upstream is in the greater hurry."""

    kind: ClassVar[str] = "test-backwards"

    first: int = 0

    def decide(self, view: View, now_ns: int, state: State) -> Decision:
        return Dispatch(view.sendable)

    def urgency(self, view: View, now_ns: int, state: State) -> int:
        return self.first


def test_a_say_needs_a_shared_device_and_others_that_have_one() -> None:
    """A stage whose policy has none keeps the turn that it has as one downstream."""
    names = {"a": Backwards(1), "b": Backwards(2), "c": Immediate(), "d": Backwards(0)}
    stages = tuple(
        Stage(name, policy, served_ns, device=("own",) if name == "d" else ("gpu",))
        for name, policy in names.items()
    )
    times = [ModelTimes(Affine(20, 5), stream(1, 0, name)) for name in names]
    devices = (Device("gpu", 1), Device("own", 1))
    log = run(Pipeline(stages, devices), times, Workload.of(np.array([0])))
    began = {stage.name: stage.batches.dispatched_ns.tolist() for stage in log.stages}
    assert began == {"a": [25], "b": [50], "c": [0], "d": [0]}


@pytest.mark.parametrize("kind", [kind.kind for kind in KINDS])
def test_the_objective_stands_in_for_a_deadline(kind: str) -> None:
    given_latency = {"kind": kind, "latency": "7ms"}
    stages = [
        {"name": "a", "policy": kind, "service": "1ms"},
        {"name": "b", "policy": given_latency, "service": "1ms"},
    ]
    config = parse_config({"objective": {"latency": "20ms"}, "stages": stages})
    pipeline = pipeline_for(config, workload_of(config))
    assert [stage.policy.latency_ns for stage in pipeline.stages] == [  # type: ignore[attr-defined]
        20_000_000,
        7_000_000,
    ]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Nexus(batch=9), r"batch must be at most max_batch \(8\), not 9"),
        (Clockwork(sizes=(1, 16)), r"sizes must be at most max_batch \(8\), not 16"),
        (Clockwork(sizes=(2, 4)), r"sizes must hold 1, or a single request could never be sent"),
    ],
)
def test_what_does_not_fit_the_stage_is_refused(policy: Policy, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy.check(8)
