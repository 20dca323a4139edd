"""Who may enter a queue: the rules by themselves, and what becomes of those who may not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import delayline.loading  # noqa: F401  (makes every kind known)
from configs.errors import ConfigError
from configs.load import parse_config
from policies.contract import NEVER_NS
from policies.immediate import Immediate
from policies.pipeline import Pipeline, Stage
from policies.predicted_lateness import PredictedLateness
from policies.runlog import Outcome, RunLog
from policies.token_bucket import TokenBucket
from policies.workload import Workload
from sim.service.deterministic import Deterministic
from sim.service_times import ModelTimes
from sim.simulate import run
from sim.streams import stream


def ran(stage: Stage, workload: Workload, service_ns: int) -> RunLog:
    times = [ModelTimes(Deterministic(service_ns), stream(1, 0, "s"))]
    return run(Pipeline((stage,)), times, workload)


def one(**changes: object) -> Stage:
    settings: dict[str, object] = {"policy": Immediate(), "predict_ns": lambda n: 100 if n else 0}
    return Stage("rank", **{**settings, **changes})  # type: ignore[arg-type]


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=60),
    st.integers(1, 40),
    st.integers(1, 4),
)
def test_a_token_bucket_admits_what_its_tokens_pay_for(
    gaps_ns: list[int], gap_ns: int, burst: int
) -> None:
    """Against the bucket as it is told: ``burst`` tokens at most, one more each ``gap_ns``."""
    tokens, last_ns, expected = Fraction(burst), 0, []
    arrival_ns = np.cumsum(gaps_ns)
    for now_ns in arrival_ns.tolist():
        tokens = min(Fraction(burst), tokens + Fraction(now_ns - last_ns, gap_ns))
        last_ns = now_ns
        expected.append(tokens >= 1)
        tokens -= tokens >= 1
    stage = one(admission=TokenBucket(rate_hz=1e9 / gap_ns, burst=burst), replicas=100)
    log = ran(stage, Workload.of(arrival_ns), 1)
    assert (log.requests.outcome == Outcome.COMPLETED).tolist() == expected
    refused = [k for k, admitted in enumerate(expected) if not admitted]
    assert log.requests.reasons == dict.fromkeys(refused, "refused by the admission of rank")


def test_where_service_is_as_predicted_whoever_enters_is_in_time_and_nobody_else_would_be() -> None:
    """One replica, one at a time, no holds: the prediction is exact."""
    arrival_ns = np.arange(0, 3000, 40)
    due_ns = arrival_ns + 350
    workload = Workload(
        arrival_ns, due_ns, np.ones_like(arrival_ns), np.zeros_like(arrival_ns, np.int8)
    )
    log = ran(one(admission=PredictedLateness()), workload, 100)
    entered = log.requests.outcome == Outcome.COMPLETED
    assert (log.requests.ended_ns[entered] <= due_ns[entered]).all()
    free_ns = 0
    rows = zip(arrival_ns.tolist(), due_ns.tolist(), entered.tolist(), strict=True)
    for arrived_ns, late_ns, admitted in rows:
        ends_ns = max(free_ns, arrived_ns) + 100
        assert admitted == (ends_ns <= late_ns)
        free_ns = ends_ns if admitted else free_ns


def test_a_margin_makes_room_and_a_request_without_a_deadline_enters() -> None:
    arrival_ns = np.arange(0, 3000, 40)
    ones, levels = np.ones_like(arrival_ns), np.zeros_like(arrival_ns, np.int8)
    due = Workload(arrival_ns, arrival_ns + 350, ones, levels)
    bare, spaced = (
        ran(one(admission=PredictedLateness(margin_ns=margin_ns)), due, 100).requests
        for margin_ns in (0, 120)
    )
    slowest = [
        int((log.ended_ns - log.arrival_ns)[log.outcome == Outcome.COMPLETED].max())
        for log in (bare, spaced)
    ]
    assert slowest[0] > 230 >= slowest[1]
    never = Workload(arrival_ns, np.full_like(arrival_ns, NEVER_NS), ones, levels)
    log = ran(one(admission=PredictedLateness()), never, 100)
    assert (log.requests.outcome == Outcome.COMPLETED).all()


@pytest.mark.parametrize(
    ("admission", "message"),
    [
        ("{kind: token_bucket}", "stages.rank.admission.rate: is missing"),
        ("{kind: token_bucket, rate: 0/s}", "stages.rank.admission.rate: must be more than 0/s"),
        (
            "{kind: token_bucket, rate: 5/s, burst: 0}",
            "stages.rank.admission.burst: must be at least 1",
        ),
        (
            "{kind: predicted_lateness, margin: -1ms}",
            "stages.rank.admission.margin: must not be negative",
        ),
        ("{kind: tokens, rate: 5/s}", "there is no admission kind 'tokens'; known: token_bucket"),
    ],
)
def test_what_makes_no_sense_is_refused(admission: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(
            {"stages": [{"name": "rank"}]}, overrides=[f"stages.rank.admission={admission}"]
        )
    assert message in str(caught.value)
