"""Successive halving: short runs first, and what a sampler is told of those that stop there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim.kinds  # noqa: F401
from configs.load import parse_config
from configs.model import Config
from delayline.judging import judge, judge_for
from delayline.runs import run_of
from policies.runlog import RunLog
from sim.backends.threads import Threads
from sim.simulate import simulate, workload_of
from sim.tuning.costs import Cost
from sim.tuning.evaluate import Evaluator, Task, first_part, shared_workload
from sim.tuning.halving import KEPT, PARTS, Reached, best, climb, parts_for
from sim.tuning.score import Figures, Scale, front
from sim.tuning.search import Search, ranked, search

MS = 1_000_000
DELAY = "stages.rank.policy.delay"


def config_of(arrivals: Any = "900/s", requests: int = 320, **more: Any) -> Config:
    stage = {
        "name": "rank",
        "max_batch": 16,
        "service": {"kind": "affine", "base": "2ms", "per_request": "100us", "cv": 0.2},
        "policy": {"kind": "fixed", "delay": "3ms"},
    }
    given = {
        "workload": {"arrivals": arrivals, "requests": requests},
        "objective": {"latency": "30ms"},
        "stages": [stage],
        "tune": {DELAY: ["0ms", "10ms"]},
    }
    return parse_config({**given, **more})


SCALE = Scale(30, 1)
LENGTHS: list[int] = []


def by_name(config: Config, log: RunLog) -> Figures:
    """Made up: the latency is the configuration's name, and grows as a run goes on."""
    LENGTHS.append(len(log.requests))
    return Figures(float(config.name) * (1 + len(log.requests) / 320), 0, 1)


def named(*latencies_ms: float) -> list[Config]:
    return [replace(config_of(), name=str(each)) for each in latencies_ms]


def test_the_best_third_goes_on_four_times_as_far() -> None:
    LENGTHS.clear()
    configs = named(90, 40, 80, 50, 70, 60, 33, 100, 110)
    found = list(climb(configs, Evaluator(by_name, Threads(1)), SCALE, PARTS))
    assert [reached.part for reached in found] == [16, 4, 16, 4, 16, 16, 1, 16, 16]
    assert LENGTHS == [20] * 9 + [80] * 3 + [320]
    assert found[6].figures.latency_ms == 66


def test_whoever_is_left_behind_is_told_as_no_better_than_whom_it_lost_to() -> None:
    configs = named(31, 32, 33, 300)
    found = list(climb(configs, Evaluator(by_name, Threads(1)), SCALE, PARTS))
    assert [reached.part for reached in found] == [1, 4, 16, 16]
    # 33 ms of the shortest run are less than the 62 ms that the first came to: it is told so.
    assert found[2].figures.latency_ms < found[0].figures.latency_ms
    assert found[2].values == found[1].values == found[0].values
    assert found[3].values == SCALE.values(found[3].figures)


PAIRS = st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=1, max_size=20)


@given(PAIRS, st.integers(1, 6))
def test_the_best_are_of_the_first_fronts(pairs: list[tuple[float, float]], count: int) -> None:
    rung = {place: Reached(Figures(0, 0, 0), pair, 4) for place, pair in enumerate(pairs)}
    kept = best(rung, count)
    assert len(kept) == min(count, len(pairs))
    first = {pairs[at] for at in front(pairs)}
    others = [place for place in kept if pairs[place] not in first]
    assert not others or first <= {pairs[place] for place in kept}


@given(PAIRS)
def test_nobody_left_behind_is_told_as_better_than_all_that_went_on(
    pairs: list[tuple[float, float]],
) -> None:
    """Two goals; short runs are spared half of the latency."""

    def judged(config: Config, log: RunLog) -> Figures:
        latency, cost = pairs[int(config.name)]
        return Figures(latency if len(log.requests) == 320 else latency / 2, 0, cost)

    scale = Scale(30, 1, ("latency", "cost"))
    configs = named(*range(len(pairs)))
    for config, place in zip(configs, range(len(pairs)), strict=True):
        object.__setattr__(config, "name", str(place))
    found = list(climb(configs, Evaluator(judged, Threads(1)), scale, (4, 1)))
    whole = [reached.values for reached in found if reached.part == 1]
    assert len(whole) == -(-len(pairs) // KEPT)
    for reached, pair in zip(found, pairs, strict=True):
        if reached.part == 4:
            beaten = [w for w in whole if w[0] <= pair[0] and w[1] <= pair[1]]
            assert not beaten or any(
                w[0] <= reached.values[0] and w[1] <= reached.values[1] for w in beaten
            )


@pytest.mark.parametrize(
    ("arrivals", "requests", "halving", "parts"),
    [
        ("900/s", 100_000, None, (16, 4, 1)),
        ("900/s", 20_000, None, (4, 1)),
        ("900/s", 19_000, None, (1,)),
        ("900/s", 100_000, False, (1,)),
        ("900/s", 5_000, True, (16, 4, 1)),
        ("900/s", 1_000, True, (4, 1)),
        ({"kind": "diurnal", "rate": "900/s", "amplitude": 0.5}, 100_000, None, (1,)),
        ({"kind": "diurnal", "rate": "900/s", "amplitude": 0.5}, 100_000, True, (16, 4, 1)),
        ({"kind": "closed", "clients": 8, "think": "1ms"}, 100_000, None, (16, 4, 1)),
    ],
)  # fmt: skip
def test_runs_are_short_where_they_tell_the_percentile(
    arrivals: Any, requests: int, halving: bool | None, parts: tuple[int, ...]
) -> None:
    config = config_of(arrivals, requests)
    assert parts_for(config, workload_of(config), halving) == parts


def test_what_warms_up_counts_for_nothing() -> None:
    config = config_of("1000/s", 100_000, warmup="6s")
    assert parts_for(config, workload_of(config)) == (4, 1)


@pytest.mark.parametrize("arrivals", ["900/s", {"kind": "closed", "clients": 8, "think": "1ms"}])
def test_a_short_run_is_the_beginning_of_the_long_one(arrivals: Any) -> None:
    config = config_of(arrivals, 400)
    whole = workload_of(config)
    short = simulate(config, workload=first_part(whole, 4))
    long = simulate(config, workload=whole)
    assert len(short.requests) == 100
    np.testing.assert_array_equal(short.requests.arrival_ns, long.requests.arrival_ns[:100])
    early = short.requests.ended_ns < short.requests.arrival_ns[-1]
    np.testing.assert_array_equal(
        short.requests.ended_ns[early], long.requests.ended_ns[:100][early]
    )


def test_a_search_by_halving_finds_what_a_whole_one_does() -> None:
    """Latency alone, on a server that is hardly loaded: not to hold is best."""
    config = config_of("100/s", 16_000)
    asked = Search(config, Cost("busy"), goals=("latency",), parts=(4, 1))
    found = list(search(asked, judge, Threads(1), trials=91))
    assert 20 <= sum(trial.part == 1 for trial in found) <= 40
    assert found[0].figures is not None
    (winner, _), *_ = ranked(found, asked.scale(found[0].figures))
    assert winner.part == 1
    assert winner.setting[DELAY] < MS


def test_the_workload_is_drawn_once_for_all_that_leave_it_alone() -> None:
    config = config_of()
    again = replace(config, stages=(replace(config.stages[0], replicas=2),))
    assert shared_workload(config, 3) is shared_workload(again, 3)
    assert shared_workload(config, 3) is not shared_workload(config, 4)
    assert shared_workload(replace(config, seed=9), 3) is not shared_workload(config, 3)
    other = replace(config, workload=replace(config.workload, requests=99))
    assert len(shared_workload(other, 3)) == 99


@pytest.mark.parametrize("warmup", ["0ms", "10%"])
@pytest.mark.parametrize("bound", [None, 4])
def test_figures_are_those_of_the_reports(warmup: str, bound: int | None) -> None:
    config = config_of("6000/s", 800, warmup=warmup)
    config = replace(config, stages=(replace(config.stages[0], queue_bound=bound),))
    log = simulate(config)
    metrics = run_of(config, log).measure()
    found = judge(config, log)
    assert found.unanswered == pytest.approx(metrics.shed / 800)
    answers = (metrics.throughput_rps or 0) * metrics.duration_s
    assert found.cost == pytest.approx(1000 * metrics.cost.busy_seconds / answers)
    if bound is None:
        assert found.latency_ms == metrics.latency.p99_ms
    assert judge_for(Cost("paid"))(config, log) == replace(found, cost=1)


def test_tasks_are_answered_in_their_order() -> None:
    configs = named(3, 1, 2)
    found = Evaluator(by_name, Threads(2)).figures([Task(config) for config in configs])
    assert [figures.latency_ms for figures in found] == [6, 2, 4]
