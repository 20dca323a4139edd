"""``smdp`` and ``control_limit``: their rules, and how they are fitted to their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from configs.errors import ConfigError
from configs.load import parse_config
from delayline.loading import load_config  # noqa: F401  (makes every kind known)
from policies.contract import NEVER_NS, Dispatch, Hold, Policy, View
from policies.control_limit import ControlLimit
from policies.immediate import Immediate
from policies.pipeline import Pipeline, Stage
from policies.place import Place
from policies.smdp import Smdp
from policies.weighed import LONGEST_HOLD_NS, patience_ns
from sim.simulate import pipeline_for, simulate, workload_of

MS = 1_000_000


def view(waiting: int, max_batch: int = 8, sendable: int | None = None) -> View:
    return View(
        waiting=waiting,
        sendable=min(waiting, max_batch) if sendable is None else sendable,
        waiting_items=waiting,
        oldest_enqueued_ns=100,
        earliest_deadline_ns=NEVER_NS,
        idle_replicas=1,
        replicas=1,
        idle_since_ns=0,
        next_idle_ns=NEVER_NS,
        last_dispatch_ns=-1,
        max_batch=max_batch,
        arrival_rate_hz=0.0,
        load=0.0,
        pipeline_load=0.0,
        service_ns=(0,) * (max_batch + 1),
        head_arrival_ns=NEVER_NS,
        head_enqueued_ns=NEVER_NS,
        head_deadline_ns=NEVER_NS,
        newest_enqueued_ns=NEVER_NS,
        downstream_ns=(0,) * (max_batch + 1),
        batch_oldest_ns=NEVER_NS,
        urgent=0,
    )


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        (1, Hold(600, 3)),  # until the next entry that sends
        (3, Dispatch(2)),
        (4, Hold(600, 5)),
        (5, Dispatch(5)),
        (7, Dispatch(5)),  # the last entry stands for all beyond
    ],
)
def test_a_table_says_how_many_go(waiting: int, expected: object) -> None:
    policy = Smdp(table=(0, 0, 0, 2, 0, 5), delay_ns=500)
    assert policy.decide(view(waiting), 200, []) == expected


def test_a_table_waits_no_longer_than_a_batch_can_grow_or_its_delay() -> None:
    policy = Smdp(table=(0, 0, 0, 0, 0, 0, 6), delay_ns=500)
    assert policy.decide(view(4, max_batch=4), 200, []) == Dispatch(4)
    assert policy.decide(view(3, sendable=2), 200, []) == Dispatch(2)
    assert policy.decide(view(3), 600, []) == Dispatch(3)
    assert policy.decide(view(1, max_batch=4), 200, []) == Hold(600, 4)


def test_without_a_table_all_that_fits_goes() -> None:
    assert Smdp().decide(view(9), 200, []) == Dispatch(8)


def test_a_limit_holds_until_so_many_wait() -> None:
    policy = ControlLimit(limit=3, delay_ns=500)
    assert policy.decide(view(2), 200, []) == Hold(600, 3)
    assert policy.decide(view(3), 200, []) == Dispatch(3)
    assert policy.decide(view(9), 200, []) == Dispatch(8)
    assert policy.decide(view(2), 600, []) == Dispatch(2)
    unplanned = ControlLimit(limit=3)
    assert unplanned.decide(view(2), 200, []) == Hold(100 + LONGEST_HOLD_NS, 3)


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (Smdp(table=(0, 2)), "table sends 2 of 1 waiting requests; send at most 1"),
        (Smdp(table=(0, *range(1, 10))), "table sends 9 of 9 waiting requests; send at most 8"),
        (Smdp(table=(0, 1, 0)), "table ends in 0"),
        (ControlLimit(limit=9), r"limit must be at most max_batch \(8\), not 9"),
        (Smdp(latency_weight=0), "are all 0"),
    ],
)
def test_knobs_that_make_no_sense_are_refused(policy: Policy, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        policy.check(8)


def place(
    predict_ns: Callable[[int], int] = lambda n: MS + MS // 2 * n,
    replicas: int = 1,
    rate_hz: float | None = 800.0,
    objective_ns: int | None = None,
) -> Place:
    stage = Stage("s", Immediate(), predict_ns, replicas=replicas, max_batch=8)
    return Place(Pipeline((stage,)), 0, objective_ns, rate_hz, lambda _: 0.0)


def test_planning_fills_in_the_table_and_a_delay_that_does_not_count() -> None:
    planned = Smdp(busy_weight=3).planned(place())
    assert planned.table[:3] == (0, 0, 2)
    assert planned.delay_ns == patience_ns(800, len(planned.table))
    assert Smdp(table=(0, 1), delay_ns=5).planned(place()) == Smdp(table=(0, 1), delay_ns=5)


def test_planning_fills_in_the_best_limit() -> None:
    assert ControlLimit(busy_weight=3).planned(place()).limit == 2
    assert ControlLimit(busy_weight=100).planned(place()).limit == 8
    assert ControlLimit(limit=5).planned(place(replicas=4)).limit == 5
    assert ControlLimit(limit=5).planned(place(rate_hz=None)) == ControlLimit(limit=5)


def test_its_own_rate_comes_first() -> None:
    slow, fast = (ControlLimit(busy_weight=20, rate_hz=hz).planned(place()) for hz in (20.0, 900.0))
    assert slow.limit < fast.limit


@pytest.mark.parametrize(
    ("policy", "where", "told"),
    [
        (Smdp(), place(replicas=2), "smdp is optimal for one replica, and there are 2"),
        (Smdp(), place(rate_hz=None), "smdp needs an arrival rate"),
        (Smdp(), place(rate_hz=5000.0), "no steady state: .* give smdp a `rate` below that"),
        (ControlLimit(), place(lambda n: 0), "batches that take no time need no policy"),
        (Smdp(excess_weight=1), place(), "excess_weight needs an objective"),
    ],
)
def test_where_there_is_no_optimum_planning_says_so(
    policy: Policy, where: Place, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        policy.planned(where)


def config(policy: object, rate: str = "800/s") -> dict[str, Any]:
    return {
        "name": "one",
        "workload": {"arrivals": rate, "requests": 2000},
        "stages": [
            {
                "name": "s",
                "max_batch": 8,
                "service": {"kind": "affine", "base": "1ms", "per_request": "500us"},
                "policy": policy,
            }
        ],
    }


def test_a_run_uses_the_planned_policy() -> None:
    asked = parse_config(config({"kind": "smdp", "busy_weight": 100}))
    (stage,) = pipeline_for(asked, workload_of(asked)).stages
    assert isinstance(stage.policy, Smdp)
    assert stage.policy.table[-1] == 8
    sizes = simulate(asked).stages[0].batches.requests
    assert (sizes[:-1] == 8).mean() > 0.99


def test_a_run_names_the_place_without_an_optimum() -> None:
    asked = parse_config(config("smdp", rate="5000/s"))
    with pytest.raises(ConfigError, match=r"stages\.s\.policy: no steady state"):
        simulate(asked)
