"""Plans against queueing theory and against trying everything."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.load import load_config
from delayline.errors import CommandError
from delayline.planned import planned_config, write_plan
from delayline.planning import latency_ms, plan
from sim.backends.threads import Threads
from sim.planning.demand import demand_of
from sim.planning.infeasible import InfeasibleError
from sim.planning.options import by_cost
from sim.planning.plan import planned_of
from sim.planning.problem import Choice
from sim.simulate import simulate
from tests.planning_cases import (
    CONFIRM,
    EXPONENTIAL,
    SMALL,
    counts,
    fewest,
    mmc_percentile_s,
    pipeline,
    within,
)

SERVER = {"max_batch": 1, "service": {"kind": "exponential", "mean": "10ms"}}


@pytest.mark.parametrize(
    ("rate_hz", "share", "servers"),
    [(300, 0.95, 4), (300, 0.95, 5), (80, 0.9, 2), (1500, 0.95, 17)],
)
def test_the_servers_of_an_mmc_queue_are_those_of_erlangs_formula(
    rate_hz: float, share: float, servers: int
) -> None:
    reached_s = mmc_percentile_s(servers, rate_hz, 100, share)
    goal_s = 1.12 * reached_s
    if servers - 1 > rate_hz / 100:  # halfway to what one server less reaches
        goal_s = math.sqrt(reached_s * mmc_percentile_s(servers - 1, rate_hz, 100, share))
    config = pipeline(f"{rate_hz}/s", within(f"{round(goal_s * 1e6)}us", 100 * share), SERVER)
    found = plan(config, requests=20_000, confirm=CONFIRM)
    assert counts(found) == [servers]
    assert found.proven
    interval = found.best.reached.interval
    assert interval is not None
    assert interval.estimate == pytest.approx(1000 * reached_s, rel=0.06)


def test_the_highest_rate_of_an_mm1_queue_is_that_of_the_closed_form() -> None:
    # T is exponential of rate mu - lambda, so p95 = ln 20 / (mu - lambda).
    found = plan(pipeline("40/s", within("75ms"), SERVER), requests=100_000, confirm=8)
    assert counts(found) == [1]
    highest_hz = 100 - math.log(20) / 0.075
    assert found.headroom.max_rate_hz == pytest.approx(highest_hz, rel=0.03)
    curve = {each.rate_hz: each.interval for each in found.headroom.curve}
    for rate_hz, interval in curve.items():
        if rate_hz <= found.headroom.max_rate_hz:
            assert interval is not None
            assert interval.estimate == pytest.approx(
                1000 * math.log(20) / (100 - rate_hz), rel=0.1
            )


def test_a_loss_is_the_queue_with_one_server_less() -> None:
    goal_s = 1.1 * mmc_percentile_s(4, 250, 100, 0.95)
    found = plan(
        pipeline("250/s", within(f"{round(goal_s * 1e6)}us"), SERVER, {"service": "1ms"}),
        requests=20_000,
        confirm=CONFIRM,
        most={"s0": 6},
    )
    lost, none_left = found.losses
    assert (lost.left, none_left.left, none_left.reached) == (counts(found)[0] - 1, 0, None)
    assert lost.reached is not None
    interval = lost.reached.interval
    assert interval is not None
    # One millisecond more at the stage after it.
    expected_ms = 1000 * mmc_percentile_s(lost.left, 250, 100, 0.95) + 1
    assert interval.estimate == pytest.approx(expected_ms, rel=0.15)


@pytest.mark.parametrize("name", SMALL)
def test_plans_are_within_one_replica_of_trying_everything(name: str) -> None:
    case = SMALL[name]
    least, planned = fewest(case)
    found = plan(case.config, requests=case.requests, confirm=CONFIRM)
    assert least <= sum(counts(found)) <= least + 1
    assert found.best.reached.within(planned.objective_ms)
    assert least > sum(each.start for each in case.box)  # the objective, not throughput, decides


def test_a_plan_is_the_same_on_any_backend_and_keeps_its_order() -> None:
    config = SMALL["batches and holds"].config
    one = plan(config, requests=2000, confirm=2)
    with Threads(2) as two:
        other = plan(config, requests=2000, confirm=2, backend=two)
    assert replace(one, planned=other.planned, demand=other.demand) == other
    costs = [one.best.cost, *(each.cost for each in one.runners_up)]
    assert costs == sorted(costs)
    assert len({each.candidate for each in (one.best, *one.runners_up)}) == len(costs)


def test_the_planned_configuration_keeps_the_objective_when_it_is_simulated(tmp_path: Path) -> None:
    config = SMALL["a fork and a join"].config
    found = plan(config, rate_hz=150.0, requests=4000, confirm=CONFIRM)
    write_plan(tmp_path / "planned.yaml", config, found)
    written = load_config(tmp_path / "planned.yaml")
    assert written == replace(planned_config(config, found), name="planned") or written == (
        planned_config(config, found)
    )
    assert written.workload.arrivals.mean_rate_hz() == 150
    assert [written.stage(name).replicas for name in ("in", "left", "right", "out")] == counts(
        found
    )
    long = replace(written, workload=replace(written.workload, requests=20_000))
    assert latency_ms(long, simulate(long, replication=77)) <= 45


TYPES = {
    "small": {"each": True, "price": "1/h"},
    "big": {"each": True, "price": "2.5/h"},
}
TYPED = {"device": "small", "service": "9ms", "service_on": {"big": "3ms"}, "max_batch": 1}


@pytest.mark.parametrize(
    ("objective", "device", "cost"),
    [("60ms", "small", 1.0), ("12ms", "big", 2.5)],
)
def test_the_cheapest_device_that_can_do_it_is_taken(
    objective: str, device: str, cost: float
) -> None:
    found = plan(
        pipeline("60/s", within(objective), TYPED, devices=TYPES), requests=4000, confirm=CONFIRM
    )
    assert found.best.candidate.allocation == (Choice(device, 1),)
    assert found.best.cost == cost


def test_stages_that_share_a_device_get_slots_together() -> None:
    stage = {"device": "gpu", "max_batch": 1, "service": "4ms"}
    config = pipeline("300/s", within("30ms"), stage, stage, devices={"gpu": {}})
    found = plan(config, requests=4000, confirm=CONFIRM)
    assert [(pool.name, pool.stages) for pool in found.planned.pools] == [("gpu", ("s0", "s1"))]
    slots = counts(found)[0]
    assert slots > 300 * 0.008
    made = planned_config(config, found)
    assert made.devices["gpu"].slots == slots
    assert [stage.replicas for stage in made.stages] == [slots, slots]


@pytest.mark.parametrize(
    ("stages", "options", "text"),
    [
        (
            [{"service": "2ms"}, {"service": "7ms"}],
            {},
            "p95 within 8ms cannot be had at 50 requests/s: the best is 9 ms, where nothing waits for"
            " a replica; s1 makes it so, at 7 ms of the 9 ms that a request alone is served for",
        ),
        (
            [{**SERVER, "service": "50ms"}],
            {"most": 2},
            "p95 within 8ms cannot be had at 50 requests/s: s0 needs 3 replicas or more and may have 2,"
            " which serve 40/s at most",
        ),
    ],
)
def test_what_cannot_be_had_names_the_stage_and_the_best(
    stages: list[dict[str, object]], options: dict[str, int], text: str
) -> None:
    with pytest.raises(InfeasibleError) as caught:
        plan(pipeline("50/s", within("8ms"), *stages), requests=2000, confirm=2, **options)  # type: ignore[arg-type]
    assert str(caught.value) == text


def test_stages_that_take_no_time_need_no_plan() -> None:
    with pytest.raises(
        ValueError, match=r"^no stage takes any time, so that any number of replicas"
    ):
        plan(pipeline("50/s", within("8ms"), {}, {}), requests=2000)


def test_too_few_replicas_are_told_from_too_slow_ones() -> None:
    config = pipeline("150/s", within("40ms"), EXPONENTIAL)
    with pytest.raises(InfeasibleError, match="with all the replicas that s0 may have; allow more"):
        plan(config, requests=2000, confirm=2, most=2)


@pytest.mark.parametrize(
    ("stage", "devices", "text"),
    [
        (
            {"device": "small", "service": "1ms"},
            {"small": {"price": "1/h"}, "other": {}},
            "",
        ),
        (
            {"service": "1ms"},
            {"small": {"price": "1/h"}},
            "stages.s0.device: is not set, so its replicas have no price; name one",
        ),
        (
            {"device": "other", "service": "1ms"},
            {"small": {"price": "1/h"}, "other": {}},
            "devices.other.price: is not set, and other devices have one",
        ),
        (
            {"device": ["small", "other"], "replicas": 2, "service": "1ms"},
            {"small": {}, "other": {}},
            "stages.s0.device: names small and other; planning gives all replicas of a stage one device",
        ),
    ],
)
def test_what_has_no_price_cannot_be_planned_beside_what_has(
    stage: dict[str, object], devices: dict[str, dict[str, object]], text: str
) -> None:
    config = pipeline("50/s", within("8ms"), stage, devices=devices)
    if not text:
        assert planned_of(config, demand_of(config), 100).priced
        return
    with pytest.raises(ConfigError) as caught:
        planned_of(config, demand_of(config), 100)
    assert str(caught.value) == text


def test_percentiles_that_nothing_rests_on_are_refused() -> None:
    config = pipeline("50/s", within("8ms", 99.9), {"service": "1ms"})
    with pytest.raises(CommandError, match=r"^p99.9 of 2,000 requests would rest on 2 of them; "):
        plan(config, requests=2000)


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.integers(1, 4)), min_size=1, max_size=3, unique=True
        ),
        min_size=1,
        max_size=3,
    ),
    st.floats(0.1, 3),
)
def test_allocations_come_in_the_order_of_their_cost_each_once(
    drawn: list[list[tuple[str, int]]], price: float
) -> None:
    devices = {
        name: {"each": True, "price": f"{cost}/h"} for name, cost in (("a", price), ("b", 1.0))
    }
    stage = {"device": "a", "service_on": {"b": "1ms"}, "service": "1ms"}
    config = pipeline("50/s", within("8ms"), *([stage] * len(drawn)), devices=devices)
    planned = planned_of(config, demand_of(config), 100)

    def cost(choice: Choice) -> float:
        return planned.pools[0].prices[choice.device] * choice.count

    options = [sorted((Choice(*each) for each in pool), key=cost) for pool in drawn]
    groups = list(by_cost(planned, options, lambda allocation: allocation[0].count))
    found = [allocation for _, group in groups for allocation in group]
    assert sorted(map(repr, found)) == sorted(map(repr, product(*options)))
    costs = [each for each, _ in groups]
    assert costs == sorted(costs)
    for at, group in groups:
        assert [planned.cost(each) for each in group] == pytest.approx([at] * len(group))
        assert [each[0].count for each in group] == sorted(each[0].count for each in group)
