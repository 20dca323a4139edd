"""What tuning searches: knobs that are there only under some kinds, and what settings cost."""

from __future__ import annotations

from typing import Any

import pytest

import sim.kinds  # noqa: F401
from configs.errors import ConfigError
from configs.knob_paths import with_knob
from configs.load import parse_config
from configs.model import Config
from configs.tuning import tunables
from policies.fixed import Fixed
from policies.runlog import RunLog
from sim.backends.threads import Threads
from sim.planning.problem import Choice, Planned, pools_of
from sim.tuning.costs import Cost, cost_of, paid
from sim.tuning.samplers import SamplerName, sampler_for
from sim.tuning.score import Figures
from sim.tuning.search import Search, Trial, search
from sim.tuning.space import Space, with_setting

MS = 1_000_000
POLICY = "stages.rank.policy"
HELD = {"choices": ["immediate", {"kind": "fixed", "delay": 0}]}
KINDS: dict[str, Any] = {
    POLICY: {
        "choices": ["immediate", {"kind": "fixed", "delay": "1ms"}, {"kind": "load_adaptive"}]
    },
    f"{POLICY}.delay": ["0ms", "10ms"],
    f"{POLICY}.max": ["10ms", "20ms"],
    f"{POLICY}.size": {"choices": [0, 8]},
}


def config_of(tune: dict[str, Any], policy: Any = "immediate", **more: Any) -> Config:
    stage = {"name": "rank", "max_batch": 16, "service": "2ms", "policy": policy, "replicas": 2}
    given = {
        "workload": {"arrivals": "300/s", "requests": 40},
        "objective": {"latency": "30ms"},
        "stages": [{**stage, **more.pop("stage", {})}],
    }
    return parse_config({**given, **more, "tune": tune})


def space_of(config: Config) -> Space:
    return Space(tunables(config))


def test_a_knob_of_one_kind_is_a_parameter_of_that_kind() -> None:
    space = space_of(config_of(KINDS))
    assert list(space.distributions) == [
        POLICY,
        f"{POLICY}.delay [fixed]",
        f"{POLICY}.max [load_adaptive]",
        f"{POLICY}.size [fixed]",
        f"{POLICY}.size [load_adaptive]",
    ]
    assert space.conditional
    assert not space_of(config_of({"stages.rank.max_batch": [1, 16]})).conditional


def test_a_setting_has_the_knobs_of_its_kind_alone() -> None:
    config = config_of(KINDS)
    space = space_of(config)
    eager = space.setting({POLICY: 0})
    assert list(eager) == [POLICY]
    assert with_setting(config, eager).stages[0].policy.kind == "immediate"
    held = space.setting(
        {POLICY: 1, f"{POLICY}.delay [fixed]": 7 * MS, f"{POLICY}.size [fixed]": 1}
    )
    assert space.shown(held) == {
        POLICY: {"kind": "fixed"},
        f"{POLICY}.delay": "7ms",
        f"{POLICY}.size": 8,
    }
    made = with_setting(config, held).stages[0].policy
    assert made == Fixed(7 * MS, 8)


def test_numbers_without_a_step_have_four_digits() -> None:
    config = config_of(
        {
            "estimates.weight": [0.1, 0.123456],
            "stages.rank.policy.delay": {"low": "1ns", "high": "20ms", "log": True},
            "stages.rank.max_batch": {"low": 1, "high": 65536, "log": True},
        },
        {"kind": "fixed", "delay": "3ms"},
    )
    params = dict(zip(config.tune, (0.1112223, 1_234_567, 12_345), strict=True))
    space = space_of(config)
    assert list(space.setting(params).values()) == [0.1112, 1_235_000, 12_345]
    assert space.setting({**params, "estimates.weight": 0.123456})["estimates.weight"] == 0.123456


def test_the_start_is_known_by_its_kind_whatever_the_knobs_below_it() -> None:
    start = config_of(KINDS, {"kind": "fixed", "delay": "3ms", "size": 8})
    assert space_of(start).params(start) == {
        POLICY: 1,
        f"{POLICY}.delay [fixed]": 3 * MS,
        f"{POLICY}.size [fixed]": 1,
    }
    other = with_knob(start, f"{POLICY}.size", 4)
    assert space_of(start).params(other) is None
    without_size = {path: tune for path, tune in KINDS.items() if not path.endswith("size")}
    other = config_of(without_size, {"kind": "fixed", "delay": "3ms", "size": 8})
    assert space_of(other).params(other) is None


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_the_search_finds_the_kind_and_its_knob(sampler: SamplerName) -> None:
    """A hold is best, and best at 6 ms; other kinds are worse whatever their knobs."""

    def judge(config: Config, log: RunLog) -> Figures:
        policy: Any = config.stages[0].policy
        if policy.kind != "fixed":
            return Figures(25, 0, 0)
        return Figures(10 + abs(policy.delay_ns / MS - 6), 0, 0)

    asked = Search(config_of(KINDS), Cost("busy"), sampler, goals=("latency",))
    found = list(search(asked, judge, Threads(1), trials=100))
    kinds = {trial.config.stages[0].policy.kind for trial in found}
    assert kinds == {"immediate", "fixed", "load_adaptive"}
    assert all(set(trial.setting) == _knobs_of(trial) for trial in found[1:])
    best = min(found, key=lambda trial: trial.figures.latency_ms if trial.figures else 1e9)
    assert best.setting[f"{POLICY}.delay"] == pytest.approx(6 * MS, abs=0.5 * MS)


def _knobs_of(trial: Trial) -> set[str]:
    below = {"immediate": [], "fixed": ["delay", "size"], "load_adaptive": ["max", "size"]}
    return {POLICY, *(f"{POLICY}.{name}" for name in below[trial.config.stages[0].policy.kind])}


@pytest.mark.parametrize(
    ("tune", "told"),
    [
        (
            {
                POLICY: {"choices": ["immediate", {"kind": "load_adaptive"}]},
                f"{POLICY}.delay": ["0ms", "1ms"],
            },
            "tune.stages.rank.policy.delay: no choice for stages.rank.policy has such a knob",
        ),
        (
            {POLICY: HELD, f"{POLICY}.dely": ["0ms", "1ms"]},
            "no choice for stages.rank.policy has such a knob; did you mean `delay`?",
        ),
        (
            {POLICY: HELD, f"{POLICY}.delay": ["2ms", "1ms"]},
            "tune.stages.rank.policy.delay: low must be less than high, but 2ms is not below 1ms",
        ),
        (
            {"stages.rank.max_batch": [1, 2], "stages.0.max_batch": [1, 2]},
            "tune.stages.0.max_batch: is the same knob as stages.rank.max_batch",
        ),
        ({POLICY: ["immediate", "fixed"]}, "is no number; list its values under `choices:`"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_told(tune: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match="tune") as caught:
        tunables(config_of(tune))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("sampler", "goals", "told"),
    [
        ("cmaes", ("latency", "cost"), "makes one goal small, not latency and cost"),
        ("cmaes", (), "needs two or more knobs with a range, and there is one"),
    ],
)
def test_a_sampler_that_can_do_nothing_is_refused(
    sampler: SamplerName, goals: tuple[str, ...], told: str
) -> None:
    space = space_of(config_of({"stages.rank.max_batch": [1, 16]}))
    with pytest.raises(ValueError, match=told):
        sampler_for(space, goals, sampler)


def test_the_sampler_is_tpe_or_where_there_are_several_goals_nsga2() -> None:
    space = space_of(config_of({"stages.rank.max_batch": [1, 16]}))
    assert sampler_for(space, ()) == sampler_for(space, ("latency",)) == "tpe"
    assert sampler_for(space, ("latency", "cost")) == "nsga2"


DEVICES = {"a30": {"each": True, "price": "0.6/h"}, "gpu": {"slots": 3, "price": "2/h"}}


def test_what_is_paid_is_what_planning_counts() -> None:
    for devices in (DEVICES, {name: {**d, "price": None} for name, d in DEVICES.items()}):
        stages = [
            {"name": "recall", "device": "gpu", "replicas": 3, "service": "1ms"},
            {"name": "rank", "device": "a30", "replicas": 5, "service": "1ms"},
            {"name": "rerank", "device": "gpu", "replicas": 2, "service": "1ms"},
        ]
        given = {"devices": devices, "stages": stages, "objective": {"latency": "1s"}}
        config = parse_config(given)
        pools, priced = pools_of(config)
        planned = Planned(config, pools, priced, 1.0)
        counts = {"recall": Choice("gpu", 3), "rank": Choice("a30", 5)}
        allocation = tuple(counts[pool.stages[0]] for pool in pools)
        assert paid(config) == planned.cost(allocation) == (9.0 if priced else 8)


@pytest.mark.parametrize(
    ("tune", "more", "cost"),
    [
        ({"stages.rank.policy.delay": ["0ms", "1ms"]}, {}, Cost("busy")),
        ({"stages.rank.replicas": [1, 4]}, {}, Cost("paid")),
        ({"stages.rank.max_batch": [1, 4], "stages.rank.replicas": [1, 4]}, {}, Cost("paid")),
        (
            {"stages.rank.device": {"choices": ["a30", "gpu"]}},
            {"devices": DEVICES, "stage": {"device": "a30"}},
            Cost("paid", True),
        ),
        ({"devices.gpu.slots": [1, 4]}, {"devices": DEVICES, "stage": {"device": "gpu"}}, Cost("paid", True)),
        ({"devices.gpu.slots": [1, 4]}, {"devices": DEVICES, "stage": {"device": "a30"}}, Cost("busy", True)),
    ],
)  # fmt: skip
def test_the_cost_is_what_is_paid_where_a_knob_changes_that(
    tune: dict[str, Any], more: dict[str, Any], cost: Cost
) -> None:
    config = config_of(tune, {"kind": "fixed", "delay": "1ms"}, **more)
    assert cost_of(config, tunables(config)) == cost
    assert cost_of(config, tunables(config), "busy").name == "busy"


def test_prices_are_all_or_none() -> None:
    devices = {**DEVICES, "l4": {"each": True}}
    config = config_of({"stages.rank.replicas": [1, 4]}, devices=devices, stage={"device": "l4"})
    with pytest.raises(ConfigError, match=r"devices.l4.price: is not set, and other devices have"):
        cost_of(config, tunables(config))
    assert cost_of(config, tunables(config), "busy") == Cost("busy", True)
