"""Tuning: what is better than what, the space, the search, and who wins on fresh replications."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import sim.kinds  # noqa: F401
from configs.knob_paths import with_knob
from configs.load import parse_config
from configs.model import Config
from configs.tuning import tunables
from policies.runlog import RunLog
from sim.backends.threads import Threads
from sim.tuning.confirm import CHOOSING_FROM, CONFIRMING_FROM, Confirmation, confirm
from sim.tuning.costs import Cost
from sim.tuning.evaluate import Evaluator
from sim.tuning.samplers import SamplerName
from sim.tuning.score import Figures, Judge, Scale, dominates, front
from sim.tuning.search import Search, Trial, ranked, search
from sim.tuning.space import Space, with_setting

MS = 1_000_000


def config_of(tune: dict[str, object], **more: object) -> Config:
    stage = {
        "name": "rank",
        "max_batch": 16,
        "service": {"kind": "affine", "base": "2ms", "per_request": "100us"},
        "policy": {"kind": "fixed", "delay": "3ms"},
    }
    workload = {"arrivals": {"kind": "poisson", "rate": "900/s"}, "requests": 50}
    given = {"workload": workload, "objective": {"latency": "30ms"}, "stages": [stage]}
    return parse_config({**given, "tune": tune, **more})


def by_delay(config: Config, log: RunLog) -> Figures:
    """A made-up pipeline: latency grows with the hold, cost falls with it."""
    delay_ms = config.stages[0].policy.delay_ns / MS  # type: ignore[attr-defined]
    return Figures(10 + 5 * delay_ms, 0.0, 1 / (1 + delay_ms))


def trials_of(config: Config, judge: Judge, trials: int, **more: Any) -> list[Trial]:
    asked = Search(config, Cost("busy"), **more)
    return list(search(asked, judge, Threads(1), trials=trials))


SCALE = Scale(30, 0.25)
"""That of :func:`config_of` and :func:`by_delay`."""


FIGURES = st.builds(
    Figures,
    st.one_of(st.floats(0.01, 1e6), st.just(math.inf)),
    st.floats(0, 1),
    st.floats(1e-6, 1e6),
)
SCALES = st.builds(Scale, st.floats(0.1, 1e4), st.floats(1e-3, 1e3))


@given(SCALES, FIGURES, FIGURES)
def test_the_objective_comes_first_and_then_the_cost(
    scale: Scale, one: Figures, other: Figures
) -> None:
    if scale.met(one) and not scale.met(other):
        assert scale.order(one) < scale.order(other)
        assert scale.value(one) <= 1 < scale.value(other)
    if scale.met(one) and scale.met(other) and one.cost < other.cost:
        assert scale.order(one) < scale.order(other)
        assert scale.value(one) <= scale.value(other)
    if not scale.met(one) and not scale.met(other) and one.latency_ms < other.latency_ms:
        assert scale.order(one) <= scale.order(other)
        assert scale.value(one) <= scale.value(other)


def test_the_cost_of_the_start_is_a_half_and_a_service_that_costs_nothing_is_too() -> None:
    assert Scale(10, 2).value(Figures(5, 0, 2)) == 0.5
    assert Scale(10, 2).value(Figures(5, 0, 6)) == 0.75
    assert Scale(10, 0).value(Figures(5, 0, 0)) == 0.5
    assert Scale(10, 2).value(Figures(15, 0, 2)) == 1.5
    assert Scale(10, 2).value(Figures(math.inf, 0.25, 2)) == 1e9 + 0.25


def test_ranges_are_distributions_in_the_knobs_own_units() -> None:
    config = config_of(
        {
            "stages.rank.policy.delay": ["0ms", "10ms"],
            "stages.rank.max_batch": {"low": 1, "high": 16, "step": 4},
            "workload.arrivals.rate": {"low": "1/s", "high": "2/s", "step": "0.3/s"},
            "estimates.weight": {"low": 0.1, "high": 1.0, "log": True},
            "stages.rank.discipline": {"choices": ["fifo", "edf"]},
        }
    )
    found = Space(tunables(config)).distributions
    assert found == {
        "stages.rank.policy.delay": IntDistribution(0, 10 * MS, step=10_000),
        "stages.rank.max_batch": IntDistribution(1, 13, step=4),
        "workload.arrivals.rate": FloatDistribution(1.0, 1.9, step=0.3),
        "estimates.weight": FloatDistribution(0.1, 1.0, log=True),
        "stages.rank.discipline": CategoricalDistribution((0, 1)),
    }


def test_a_setting_goes_to_parameters_and_back() -> None:
    config = config_of(
        {
            "stages.rank.policy.delay": ["0ms", "10ms"],
            "stages.rank.discipline": {"choices": ["fifo", "edf"]},
        }
    )
    space = Space(tunables(config))
    start = space.start(config)
    assert space.shown(start) == {
        "stages.rank.policy.delay": "3ms",
        "stages.rank.discipline": "fifo",
    }
    params = space.params(config)
    assert params == {"stages.rank.policy.delay": 3 * MS, "stages.rank.discipline": 0}
    assert space.setting(params) == start
    assert with_setting(config, start) == config
    between = with_knob(config, "stages.rank.policy.delay", 3 * MS + 1)
    assert space.params(between) is None


SAMPLERS: tuple[SamplerName, ...] = ("tpe", "gp", "cmaes", "nsga2", "random")
TWO = {"stages.rank.policy.delay": ["0ms", "10ms"], "stages.rank.max_batch": [1, 32]}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_search_begins_with_the_start_and_is_the_same_each_time(sampler: SamplerName) -> None:
    config = config_of(TWO)
    trials = 12 if sampler == "gp" else 20
    first, second = (trials_of(config, by_delay, trials, sampler=sampler) for _ in range(2))
    assert first == second
    assert [trial.number for trial in first] == list(range(trials))
    assert first[0].setting == {"stages.rank.policy.delay": 3 * MS, "stages.rank.max_batch": 16}
    other = trials_of(replace(config, seed=1), by_delay, 10, sampler=sampler)
    assert [trial.setting for trial in other[1:]] != [trial.setting for trial in first[1:]]


@pytest.mark.parametrize("workers", [2, 5])
def test_nothing_hangs_on_the_number_of_workers(workers: int) -> None:
    asked = Search(config_of(TWO), Cost("busy"))
    with Threads(workers) as many:
        assert list(search(asked, by_delay, many, trials=20)) == trials_of(
            asked.config, by_delay, 20
        )


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2"])
def test_the_search_comes_close_to_the_best_that_meets_the_objective(sampler: SamplerName) -> None:
    """Latency is 10 + 5 delay, the objective 30 ms, and cost falls with the delay: 4 ms is best."""
    found = trials_of(config_of(TWO), by_delay, 90, sampler=sampler)
    best, figures = ranked(found, SCALE)[0]
    assert figures.latency_ms <= 30
    assert 3.5 * MS <= best.setting["stages.rank.policy.delay"] <= 4 * MS


def test_a_gaussian_process_needs_few_trials() -> None:
    found = trials_of(config_of(TWO), by_delay, 14, sampler="gp", batch=2, goals=("latency",))
    assert min(trial.setting["stages.rank.policy.delay"] for trial in found) < 0.1 * MS


def test_all_trials_meet_the_same_arrivals() -> None:
    seen = []

    def note(config: Config, log: RunLog) -> Figures:
        seen.append(tuple(log.requests.arrival_ns))
        return by_delay(config, log)

    trials_of(config_of({"stages.rank.policy.delay": ["0ms", "10ms"]}), note, 5)
    assert len(seen) == 5
    assert len(set(seen)) == 1


def test_arrivals_that_are_tuned_are_drawn_for_each() -> None:
    last_ns = {}

    def note(config: Config, log: RunLog) -> Figures:
        last_ns[config.workload.arrivals.rate_hz] = int(log.requests.arrival_ns[-1])
        return Figures(1, 0, 1)

    config = config_of({"workload.arrivals.rate": {"choices": ["300/s", "900/s", "2700/s"]}})
    trials_of(config, note, 20)
    assert last_ns[300] == pytest.approx(3 * last_ns[900])
    assert last_ns[900] == pytest.approx(3 * last_ns[2700])


def test_a_setting_that_is_known_is_not_simulated_again() -> None:
    runs = itertools.count()

    def count(config: Config, log: RunLog) -> Figures:
        next(runs)
        return Figures(1, 0, 1)

    config = config_of({"stages.rank.max_batch": {"choices": [4, 8, 16]}})
    assert len(trials_of(config, count, 30)) == 30
    assert next(runs) == 3


def test_latency_alone_is_made_small_beyond_the_objective() -> None:
    config = config_of({"stages.rank.policy.delay": ["0ms", "10ms"]})
    found = trials_of(config, by_delay, 60, goals=("latency",))
    best, figures = ranked(found, replace(SCALE, goals=("latency",)))[0]
    assert best.setting["stages.rank.policy.delay"] <= 0.1 * MS
    assert figures.latency_ms < 11


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_several_goals_give_their_trade_off(sampler: SamplerName) -> None:
    """Every delay is as good as any other, and a smaller batch is dearer for the same latency."""

    def judge(config: Config, log: RunLog) -> Figures:
        found = by_delay(config, log)
        return replace(found, cost=found.cost + 1 - config.stages[0].max_batch / 32)

    goals = ("latency", "cost")
    found = trials_of(config_of(TWO), judge, 150, sampler=sampler, goals=goals)
    scale = replace(SCALE, goals=goals)
    values = [scale.values(trial.figures) for trial in found if trial.figures is not None]
    best = [found[at] for at in front(values)]
    assert len(best) >= 10
    assert median(trial.setting["stages.rank.max_batch"] for trial in best) >= 28


VALUES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30)


@given(VALUES)
def test_the_front_is_what_none_dominates_and_dominates_the_rest(
    values: list[tuple[int, int]],
) -> None:
    kept = [values[at] for at in front(values)]
    assert len(set(kept)) == len(kept)
    for each in values:
        if each in kept:
            assert not any(dominates(other, each) for other in values)
        else:
            assert any(dominates(other, each) for other in kept)


def test_settings_that_the_configuration_refuses_are_passed_over() -> None:
    config = config_of({"stages.rank.max_batch": [1, 16]})
    config = with_knob(config, "stages.rank.policy.size", 8)
    trials = trials_of(config, by_delay, 30)
    refused = [trial for trial in trials if trial.figures is None]
    assert refused
    for trial in trials:
        assert (trial.setting["stages.rank.max_batch"] < 8) == (trial.figures is None)
    assert all(trial.figures is not None for trial, _ in ranked(trials, SCALE))


@pytest.mark.parametrize("cut", ["objective", "tune"])
def test_a_search_needs_an_objective_and_a_range(cut: str) -> None:
    config = config_of({"stages.rank.policy.delay": ["0ms", "10ms"]})
    config = replace(config, objective=None) if cut == "objective" else replace(config, tune={})
    with pytest.raises(ValueError, match=cut):
        trials_of(config, by_delay, 1)


class Made:
    """Trials whose figures are made up: in the search, and on each fresh replication."""

    def __init__(self, *latencies_ms: tuple[float, float], cost: tuple[float, ...] = ()) -> None:
        self.base = config_of({"stages.rank.policy.delay": ["0ms", "10ms"]})
        self.fresh = {float(k): fresh for k, (_, fresh) in enumerate(latencies_ms)}
        self.cost = cost or (1.0,) * len(latencies_ms)
        self.seen: set[int] = set()
        self.trials = [
            Trial(k, {"delay": k}, self.named(k), Figures(searched, 0.0, self.cost[k]))
            for k, (searched, _) in enumerate(latencies_ms)
        ]

    def confirmed(self, replications: int = 4, **more: Any) -> Confirmation:
        """What comes of confirming these trials."""
        figures = self.trials[0].figures
        assert figures is not None
        scale = Scale(30, figures.cost, **more)
        evaluator = Evaluator(self.judge, Threads(1))
        return confirm(self.trials, scale, evaluator, replications=replications)

    def named(self, number: int) -> Config:
        return replace(self.base, name=str(number))

    def judge(self, config: Config, log: RunLog) -> Figures:
        number, replication = int(config.name), int(str(log.info["replication"]))
        self.seen.add(replication)
        jitter = replication % 4 / 10 + number / 100 * (replication % 3)
        return Figures(self.fresh[number] + jitter, 0.0, self.cost[number])


def test_who_won_by_luck_is_found_out() -> None:
    """Trial 1 met the objective of 30 ms in the search alone, trial 2 meets it always."""
    made = Made((40, 40), (29, 35), (29.5, 28), cost=(1, 0.1, 0.5))
    found = made.confirmed(4)
    assert found.chosen is made.trials[2]
    assert (found.decided_by, found.better) == ("latency", True)
    assert found.latency_ms is not None
    assert found.latency_ms.high < 0
    expected = {CHOOSING_FROM + k for k in range(4)} | {CONFIRMING_FROM + k for k in range(4)}
    assert made.seen == expected


def test_the_start_stays_where_nothing_is_better() -> None:
    made = Made((20, 20), (29, 35), (28, 33), cost=(1, 0.1, 0.5))
    found = made.confirmed(4)
    assert found.chosen is made.trials[0]
    assert not found.better
    assert found.latency_ms is not None
    assert (found.latency_ms.low, found.latency_ms.high) == (0, 0)


def test_what_costs_the_same_is_not_called_better_for_its_cost() -> None:
    made = Made((20, 20), (20, 20.001))
    found = made.confirmed(4)
    assert not found.better


def test_more_are_tried_where_the_first_five_fail() -> None:
    lucky = [(29.0, 31.0)] * 6
    made = Made((40, 40), *lucky, (29.9, 25), cost=(1, *(0.1,) * 6, 0.5))
    found = made.confirmed(4)
    assert found.chosen is made.trials[7]


def test_answers_where_there_were_none_are_better() -> None:
    made = Made((math.inf, math.inf), (29, 20))
    found = made.confirmed(3)
    assert found.latency_ms is None
    assert found.better


def test_confirming_needs_two_replications() -> None:
    made = Made((20, 20))
    with pytest.raises(ValueError, match="2 replications or more, not 1"):
        made.confirmed(1)


def test_the_front_is_what_holds_on_fresh_replications() -> None:
    """Trial 1 looked as fast as trial 2 in the search, and is slower and dearer on fresh replications."""
    made = Made((40, 40), (20, 33), (25, 25), (60, 60), cost=(1, 0.9, 0.8, 0.7))
    found = made.confirmed(goals=("latency", "cost"))
    assert [point.trial.number for point in found.front] == [2, 3]
    assert found.chosen is made.trials[2]
    first = found.front[0]
    assert first.figures.latency_ms in first.latency_ms
    assert (first.cost.low, first.cost.high) == (0.8, 0.8)


def test_where_latency_alone_counts_it_decides_though_both_meet_the_objective() -> None:
    made = Made((20, 20), (15, 15), cost=(1, 2))
    found = made.confirmed(goals=("latency",))
    assert found.chosen is made.trials[1]
    assert (found.decided_by, found.better) == ("latency", True)
