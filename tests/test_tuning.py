"""Tuning: what is better than what, the space, the search, and who wins on fresh replications."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import sim.kinds  # noqa: F401
from configs.knob_paths import with_knob
from configs.load import parse_config
from configs.model import Config
from configs.tuning import knob_ranges
from policies.runlog import RunLog
from sim.tuning.confirm import CHOOSING_FROM, CONFIRMING_FROM, confirm
from sim.tuning.score import Figures, Scale
from sim.tuning.search import Trial, ranked, search
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
    if scale.met(one) and scale.met(other) and one.busy_s_per_1000 < other.busy_s_per_1000:
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
    found = Space(knob_ranges(config)).distributions
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
            "stages.rank.policy": {
                "choices": [{"kind": "immediate"}, {"kind": "fixed", "delay": "1ms"}]
            },
        }
    )
    space = Space(knob_ranges(config)[:1])
    assert space.start() == {"stages.rank.policy.delay": 3 * MS}
    assert space.shown(space.start()) == {"stages.rank.policy.delay": "3ms"}
    space = Space(knob_ranges(config)[1:])
    setting = space.setting({"stages.rank.policy": 1})
    assert space.params(setting) == {"stages.rank.policy": 1}
    assert space.params(space.start()) is None
    assert with_setting(config, setting).stages[0].policy.kind == "fixed"


def test_the_search_begins_with_the_start_and_is_the_same_each_time() -> None:
    config = config_of({"stages.rank.policy.delay": ["0ms", "10ms"]})
    first, second = (list(search(config, by_delay, trials=20)) for _ in range(2))
    assert first == second
    assert [trial.number for trial in first] == list(range(20))
    assert first[0].setting == {"stages.rank.policy.delay": 3 * MS}
    other = list(search(replace(config, seed=1), by_delay, trials=20))
    assert [trial.setting for trial in other] != [trial.setting for trial in first]


def test_the_search_comes_close_to_the_best_that_meets_the_objective() -> None:
    """Latency is 10 + 5 delay, the objective 30 ms, and cost falls with the delay: 4 ms is best."""
    config = config_of({"stages.rank.policy.delay": ["0ms", "10ms"]})
    best, figures = ranked(list(search(config, by_delay, trials=60)))[0]
    assert figures.latency_ms <= 30
    assert 3.7 * MS <= best.setting["stages.rank.policy.delay"] <= 4 * MS


def test_all_trials_meet_the_same_arrivals() -> None:
    seen = []

    def note(config: Config, log: RunLog) -> Figures:
        seen.append(tuple(log.requests.arrival_ns))
        return by_delay(config, log)

    list(search(config_of({"stages.rank.policy.delay": ["0ms", "10ms"]}), note, trials=5))
    assert len(seen) == 5
    assert len(set(seen)) == 1


def test_a_setting_that_is_known_is_not_simulated_again() -> None:
    runs = itertools.count()

    def count(config: Config, log: RunLog) -> Figures:
        next(runs)
        return Figures(1, 0, 1)

    config = config_of({"stages.rank.max_batch": {"choices": [4, 8, 16]}})
    assert len(list(search(config, count, trials=30))) == 30
    assert next(runs) == 3


def test_settings_that_the_configuration_refuses_are_passed_over() -> None:
    config = config_of({"stages.rank.max_batch": [1, 16]})
    config = with_knob(config, "stages.rank.policy.size", 8)
    trials = list(search(config, by_delay, trials=30))
    refused = [trial for trial in trials if trial.figures is None]
    assert refused
    for trial in trials:
        assert (trial.setting["stages.rank.max_batch"] < 8) == (trial.figures is None)
    assert all(trial.figures is not None for trial, _ in ranked(trials))


@pytest.mark.parametrize("cut", ["objective", "tune"])
def test_a_search_needs_an_objective_and_a_range(cut: str) -> None:
    config = config_of({"stages.rank.policy.delay": ["0ms", "10ms"]})
    config = replace(config, objective=None) if cut == "objective" else replace(config, tune={})
    with pytest.raises(ValueError, match=cut):
        next(search(config, by_delay, trials=1))


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
    found = confirm(made.trials, made.judge, replications=4)
    assert found.chosen is made.trials[2]
    assert (found.decided_by, found.better) == ("latency", True)
    assert found.latency_ms is not None
    assert found.latency_ms.high < 0
    expected = {CHOOSING_FROM + k for k in range(4)} | {CONFIRMING_FROM + k for k in range(4)}
    assert made.seen == expected


def test_the_start_stays_where_nothing_is_better() -> None:
    made = Made((20, 20), (29, 35), (28, 33), cost=(1, 0.1, 0.5))
    found = confirm(made.trials, made.judge, replications=4)
    assert found.chosen is made.trials[0]
    assert not found.better
    assert found.latency_ms is not None
    assert (found.latency_ms.low, found.latency_ms.high) == (0, 0)


def test_what_costs_the_same_is_not_called_better_for_its_cost() -> None:
    made = Made((20, 20), (20, 20.001))
    found = confirm(made.trials, made.judge, replications=4)
    assert not found.better


def test_more_are_tried_where_the_first_five_fail() -> None:
    lucky = [(29.0, 31.0)] * 6
    made = Made((40, 40), *lucky, (29.9, 25), cost=(1, *(0.1,) * 6, 0.5))
    found = confirm(made.trials, made.judge, replications=4)
    assert found.chosen is made.trials[7]


def test_answers_where_there_were_none_are_better() -> None:
    made = Made((math.inf, math.inf), (29, 20))
    found = confirm(made.trials, made.judge, replications=3)
    assert found.latency_ms is None
    assert found.better


def test_confirming_needs_two_replications() -> None:
    made = Made((20, 20))
    with pytest.raises(ValueError, match="2 replications or more, not 1"):
        confirm(made.trials, made.judge, replications=1)
