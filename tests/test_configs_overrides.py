"""``--set PATH=VALUE``: what it changes, what it creates, and what it says where it cannot."""

from __future__ import annotations

from typing import Any

import pytest

import configs.kinds
import sim.kinds  # noqa: F401
from configs.errors import ConfigError
from configs.load import parse_config
from configs.model import Config
from configs.yaml_text import parse_yaml
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.load_adaptive import LoadAdaptive
from policies.registry import POLICIES
from sim.arrivals.poisson import Poisson
from sim.items.constant import Constant
from sim.service.affine import Affine
from sim.service.table import Table

TEXT = """
stages:
  - {name: recall, policy: {kind: fixed, delay: 1ms, size: 4}}
  - {name: rank, delay: 10ms, service: {kind: table, points: {1: 1ms, 8: 2ms}}}
  - {name: rerank}
"""


def loaded(*overrides: str, text: str = TEXT) -> Config:
    return parse_config(parse_yaml(text, "p.yaml"), file="p.yaml", overrides=overrides)


def test_a_knob_of_a_policy() -> None:
    assert loaded("stages.recall.policy.delay=2ms").stage("recall").policy == Fixed(2_000_000, 4)


def test_a_stage_by_position() -> None:
    assert loaded("stages.0.policy.delay=2ms").stage("recall").policy == Fixed(2_000_000, 4)
    assert loaded("stages[0].policy.delay=2ms").stage("recall").policy == Fixed(2_000_000, 4)


def test_the_delay_of_the_short_form_by_either_name() -> None:
    for path in ("stages.rank.policy.delay", "stages.rank.delay"):
        assert loaded(f"{path}=3ms").stage("rank").policy == Fixed(3_000_000)
    assert loaded("stages.rank.policy.size=7").stage("rank").policy == Fixed(10_000_000, 7)


def test_the_short_form_where_there_was_no_policy() -> None:
    assert loaded("stages.rerank.delay=3ms").stage("rerank").policy == Fixed(3_000_000)


def test_another_kind_drops_the_knobs_of_the_old_one() -> None:
    config = loaded("stages.recall.policy.kind=immediate")
    assert config.stage("recall").policy == Immediate()
    again = loaded("stages.recall.policy.kind=fixed")
    assert again.stage("recall").policy == Fixed(1_000_000, 4)


def test_a_kind_is_set_before_its_knobs_in_any_order() -> None:
    for overrides in (
        ("stages.rank.policy.step=2ms", "stages.rank.policy.kind=load_adaptive"),
        ("stages.rank.policy.kind=load_adaptive", "stages.rank.policy.step=2ms"),
    ):
        assert loaded(*overrides).stage("rank").policy == LoadAdaptive(step_ns=2_000_000)


def test_a_whole_kind() -> None:
    config = loaded(
        "stages.rerank.service={kind: affine, base: 1ms}", "stages.rank.policy=immediate"
    )
    assert config.stage("rerank").service == Affine(1_000_000)
    assert config.stage("rank").policy == Immediate()


def test_defaults_can_be_reached() -> None:
    config = loaded(
        "workload.arrivals.rate=7/s", "stages.rerank.service.mean=5ms", "workload.items=9"
    )
    assert config.workload.arrivals == Poisson(7.0)
    assert config.stage("rerank").service.mean_ns == 5_000_000
    assert config.workload.items == Constant(9)
    assert config.workload.requests == 10_000


def test_parts_that_were_absent_come_to_be() -> None:
    config = loaded(
        "objective.latency=50ms",
        "workload.requests=1000",
        "stages.rank.replicas=4",
        "devices.gpu0.slots=2",
        "stages.rank.device=gpu0",
        "stages.rerank.after=[recall, rank]",
        "tune.stages.rank.policy.delay=[0ms, 5ms]",
        "warmup=5%",
    )
    assert config.objective is not None
    assert config.objective.latency_ns == 50_000_000
    assert config.workload.requests == 1000
    assert config.stage("rank").replicas == 4
    assert config.devices["gpu0"].slots == 2
    assert config.stage("rank").device == ("gpu0",)
    assert config.parents()["rerank"] == ("recall", "rank")
    assert list(config.tune) == ["stages.rank.policy.delay"]
    assert config.warmup.percent == 5


def test_entries_of_lists_and_mappings() -> None:
    config = loaded("stages.rank.service.points.8=3ms", "validate.loads=[0.1, 0.2]")
    assert config.stage("rank").service == Table({1: 1_000_000, 8: 3_000_000})
    assert config.validate.loads == (0.1, 0.2)
    lists = loaded("validate.loads.1=0.9", text=TEXT + "validate: {loads: [0.1, 0.2]}")
    assert lists.validate.loads == (0.1, 0.9)


def test_the_last_one_wins() -> None:
    assert loaded("seed=1", "seed=2").seed == 2


def test_what_was_given_is_left_as_it_was() -> None:
    mapping: dict[str, Any] = {"stages": [{"name": "a", "delay": "1ms"}]}
    parse_config(mapping, overrides=["stages.a.delay=2ms", "seed=3"])
    assert mapping == {"stages": [{"name": "a", "delay": "1ms"}]}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "must be PATH=VALUE, such as seed=7"),
        ("=5", "must be PATH=VALUE, such as seed=7"),
        ("stages..a=5", "stages..a: has an empty part between its dots"),
        ("sed=5", "sed: unknown key; did you mean `seed`?"),
        ("seed=x", "seed: must be a whole number, not 'x'"),
        ("seed.x=5", "seed.x: there is nothing below a single value"),
        ("stages.rnk.delay=2ms", "stages.rnk: there is no such stage; did you mean `rank`?"),
        ("stages.9.delay=2ms", "stages.9: there is no such stage; known: recall, rank, rerank"),
        ("stages.rank.polcy.delay=2ms", "stages.rank.polcy: unknown key; did you mean `policy`?"),
        (
            "stages.rank.policy.dely=2ms",
            "stages.rank.policy.dely: the policy kind `fixed` has no such knob; did you mean `delay`?",
        ),
        (
            "stages.rerank.policy.delay=2ms",
            "stages.rerank.policy.delay: the policy kind `immediate` has no knobs",
        ),
        (
            "stages.rank.model.path=x",
            "stages.rank.model: has no kind yet; set its kind first (model kinds: none)",
        ),
        (
            "stages.rank.policy.delay=2",
            "stages.rank.policy.delay: needs a unit: write 2ms or 2s, not 2",
        ),
        (
            "stages.1.policy.delay=2",
            "stages.rank.policy.delay: needs a unit: write 2ms or 2s, not 2",
        ),
        ("stages.rank.delay=-2ms", "stages.rank.policy.delay: must not be negative, but is -2ms"),
        (
            "stages.rank.policy.kind=zzz",
            f"stages.rank.policy.kind: there is no policy kind 'zzz'; known: {', '.join(POLICIES)}",
        ),
        ("devices.gpu0.slts=2", "devices.gpu0.slts: unknown key; did you mean `slots`?"),
        ("stages.rank.device=gpu7", "stages.rank.device: there is no device `gpu7`; devices: none"),
        ("stages=5", "stages: must be a list, not 5"),
        ("validate.loads.0=5", "validate.loads: is no list that has entries"),
    ],
)
def test_an_override_that_cannot_be(
    override: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(configs.kinds._KINDS, "model", {})
    with pytest.raises(ConfigError) as caught:
        loaded(override)
    assert str(caught.value) == f"--set {override}: {message}"


def test_a_value_that_is_no_yaml() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("seed=[")
    assert str(caught.value).startswith("--set seed=[:1:2: is not YAML that can be used")


def test_each_problem_is_laid_to_where_it_came_from() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("stages.rank.replicas=0", text=TEXT + "seed: -1")
    assert str(caught.value).splitlines() == [
        "p.yaml: seed: must be at least 0, not -1",
        "--set stages.rank.replicas=0: stages.rank.replicas: must be at least 1, not 0",
    ]


def test_what_no_longer_fits_together_names_all_that_was_set() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("stages.recall.max_batch=2", "seed=3")
    assert str(caught.value) == (
        "p.yaml with --set stages.recall.max_batch=2 with --set seed=3:"
        " stages.recall.policy: size must be at most max_batch (2), not 4"
    )


def test_all_paths_that_lead_nowhere_are_told() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("sed=1", "stages.rnk=2")
    assert len(caught.value.problems) == 2
