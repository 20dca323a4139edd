"""Knobs by path, the ranges that tuning searches, and the registry of kinds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs.kinds
import sim.kinds  # noqa: F401
from configs.checks import checked
from configs.dump import dump_config
from configs.errors import ConfigError
from configs.kinds import kinds, register
from configs.knob_paths import knob_at, knob_value, with_knob
from configs.load import parse_config
from configs.model import Config
from configs.nodes import value_of
from configs.plain import plain
from configs.tuning import knob_ranges
from configs.yaml_text import parse_yaml
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.knobs import knob


def loaded(text: str = "", **overrides: str) -> Config:
    stages = (
        "stages: [{name: a, delay: 2ms}, {name: b, service: {kind: table, points: {4: 1ms}}}]\n"
    )
    return parse_config(parse_yaml(stages + text, "p.yaml"), file="p.yaml")


CONFIG = loaded("objective: {latency: 50ms}")


@pytest.mark.parametrize(
    ("path", "value", "number", "unit"),
    [
        ("seed", 0, int, None),
        ("stages.a.policy.delay", 2_000_000, int, "duration"),
        ("stages.0.policy.delay", 2_000_000, int, "duration"),
        ("stages.a.max_items", None, int, None),
        ("stages.b.service.points.4", 1_000_000, int, "duration"),
        ("workload.arrivals.rate", 100.0, float, "rate"),
        ("objective.latency", 50_000_000, int, "duration"),
        ("validate.loads.1", 0.5, float, None),
        ("validate.holds[1]", 2_000_000, int, "duration"),
        ("stages.b.policy", Immediate(), None, None),
        ("workload.expire", False, None, None),
    ],
)
def test_a_knob_by_path(path: str, value: object, number: object, unit: str | None) -> None:
    found = knob_at(CONFIG, path)
    assert (found.value, found.number, found.unit) == (value, number, unit)
    assert knob_value(CONFIG, path) == value


@given(st.integers(0, 10**12))
def test_what_is_put_in_is_found_and_nothing_else_changes(delay_ns: int) -> None:
    changed = with_knob(CONFIG, "stages.a.policy.delay", delay_ns)
    assert knob_value(changed, "stages.a.policy.delay") == delay_ns
    assert with_knob(changed, "stages.a.policy.delay", 2_000_000) == CONFIG


def test_knobs_inside_lists_and_mappings_can_be_put_in() -> None:
    changed = with_knob(CONFIG, "stages.b.service.points.4", 5)
    assert changed.stage("b").service.points_ns == {4: 5}
    assert with_knob(CONFIG, "validate.loads.0", 0.25).validate.loads[:2] == (0.25, 0.5)
    assert with_knob(CONFIG, "stages.b.policy", Fixed(7)).stage("b").policy == Fixed(7)


def test_reading_a_value_as_a_knob_does() -> None:
    delay = knob_at(CONFIG, "stages.a.policy.delay")
    assert delay.read("3ms") == 3_000_000
    assert delay.show(3_000_000) == "3ms"
    with pytest.raises(ConfigError) as caught:
        delay.read(3)
    assert str(caught.value) == "stages.a.policy.delay: needs a unit: write 3ms or 3s, not 3"


def test_ranges_are_in_the_units_of_their_knobs() -> None:
    config = loaded(
        "tune:\n"
        "  stages.a.policy.delay: [0, 10ms]\n"
        "  workload.arrivals.rate: {low: 1/s, high: 1000/s, log: true}\n"
        "  stages.a.max_batch: {low: 8, high: 64, step: 8}\n"
        "  stages.b.policy: {choices: [immediate, {kind: fixed, delay: 1ms}]}\n"
        "  stages.b.max_items: {choices: [null, 100]}\n"
    )
    delay, rate, batch, policy, items = knob_ranges(config)
    assert (delay.path, delay.low, delay.high) == ("stages.a.policy.delay", 0, 10_000_000)
    assert (rate.low, rate.high, rate.log, rate.step) == (1.0, 1000.0, True, None)
    assert (batch.low, batch.high, batch.step, batch.log) == (8, 64, 8, False)
    assert policy.choices == (Immediate(), Fixed(1_000_000))
    assert items.choices == (None, 100)
    assert parse_config(parse_yaml(dump_config(config), "again"), file="p.yaml") == config


def test_the_problem_of_a_range_is_laid_to_it() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("tune: {stages.a.policy.delay: [0, 10]}")
    assert str(caught.value) == (
        "p.yaml: tune.stages.a.policy.delay: needs a unit: write 10ms or 10s, not 10"
    )


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Inner:
    share: float = knob("a share", ge=0, le=1)
    pause_ns: int = knob("a pause", default=5_000_000)


@dataclass(frozen=True, slots=True)
class Everything:
    """A kind with a knob of every type."""

    kind: ClassVar[str] = "everything"

    gap_ns: int = knob("a gap", gt=0)
    file: Path = knob("a file")
    copy: str = knob("a word that BaseModel has too", default="x")
    inner: Inner = knob("a part", default=Inner(0.5))
    parts: tuple[Inner, ...] = knob("parts", default=())
    pair: tuple[int, float] = knob("a pair", default=(1, 2.0))
    rate_hz: float | None = knob("a rate", default=None, gt=0)
    steps_hz: tuple[float, ...] = knob("rates", default=())
    mode: Literal["fast", "slow"] = knob("a mode", default="fast")
    colour: Colour = knob("a colour", default=Colour.RED)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode == "slow" and self.rate_hz:
            raise ValueError("a slow mode has no rate")


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the kind above for the length of a test."""
    monkeypatch.setitem(configs.kinds._KINDS["model"], "everything", Everything)


WRITTEN = """
kind: everything
gap: 3ms
file: some/file
copy: y
inner: {share: 0.25}
parts: [{share: 1, pause: 1us}]
pair: [3, 4]
rate: 6/min
steps: [1/s, 2/s]
mode: slow
colour: blue
options: {a: [1, {b: null}]}
"""


def test_a_new_kind_needs_nothing_but_its_registration(everything: None) -> None:
    written = parse_yaml(WRITTEN.replace("mode: slow", "mode: fast"), "x")
    config = parse_config({"stages": [{"name": "a", "model": written}]}, file="/conf/p.yaml")
    model = config.stages[0].model
    assert model == Everything(
        gap_ns=3_000_000,
        file=Path("/conf/some/file"),
        copy="y",
        inner=Inner(0.25),
        parts=(Inner(1.0, 1000),),
        pair=(3, 4.0),
        rate_hz=0.1,
        steps_hz=(1.0, 2.0),
        mode="fast",
        colour=Colour.BLUE,
        options={"a": [1, {"b": None}]},
    )
    text = dump_config(config, Path("/conf"))
    assert parse_config(parse_yaml(text, "x"), file="/conf/p.yaml") == config
    assert plain(model, folder=Path("/conf"))["file"] == "some/file"


def test_a_kind_may_refuse_a_combination(everything: None) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"stages": [{"name": "a", "model": parse_yaml(WRITTEN, "x")}]})
    assert str(caught.value) == "stages.a.model: a slow mode has no rate"


def test_errors_reach_into_the_parts_of_a_kind(everything: None) -> None:
    model = {"kind": "everything", "gap": "1ms", "file": "f", "parts": [{"share": 2, "pase": 1}]}
    with pytest.raises(ConfigError) as caught:
        parse_config({"stages": [{"name": "a", "model": model}]})
    assert str(caught.value).splitlines() == [
        "stages.a.model.parts[0].share: must be at most 1, not 2",
        "stages.a.model.parts[0].pase: unknown key; did you mean `pause`?",
    ]


def test_a_type_that_no_configuration_holds() -> None:
    @dataclass(frozen=True)
    class Odd:
        when: complex = knob("no such thing in YAML")

    with pytest.raises(TypeError, match="a knob has a type that no configuration holds"):
        value_of(Odd, {"when": 1})


def test_kinds_are_registered_once_under_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(configs.kinds._KINDS, "model", {})
    register("model", Everything)
    register("model", Everything)
    assert dict(kinds("model")) == {"everything": Everything}

    @dataclass(frozen=True)
    class Other:
        kind: ClassVar[str] = "everything"

    with pytest.raises(
        ValueError, match=r"model kind 'everything' is Everything already; give .*Other"
    ):
        register("model", Other)


def test_what_cannot_be_registered() -> None:
    @dataclass
    class Thawed:
        kind: ClassVar[str] = "thawed"

    with pytest.raises(TypeError, match="Thawed must be a frozen dataclass"):
        register("model", Thawed)
    with pytest.raises(TypeError, match="Inner needs a class attribute `kind`"):
        register("model", Inner)
    with pytest.raises(
        ValueError, match="no family of kinds is called 'modl'; there are: arrivals"
    ):
        register("modl", Everything)


def test_the_kinds_of_a_family_cannot_be_changed_from_outside() -> None:
    with pytest.raises(TypeError):
        kinds("policy")["mine"] = Everything  # type: ignore[index]


def test_a_family_without_kinds_says_what_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(configs.kinds._KINDS, "model", {})
    with pytest.raises(ConfigError) as caught:
        parse_config({"stages": [{"name": "a", "model": "mlp"}]})
    assert str(caught.value) == (
        "stages.a.model: there is no model kind 'mlp';"
        " no model kinds are registered; import `sim.kinds` or `executors.kinds`"
    )


def test_what_was_put_in_can_be_checked_as_a_file_is() -> None:
    assert checked(CONFIG) is CONFIG
    with pytest.raises(ConfigError) as caught:
        checked(with_knob(CONFIG, "stages.a.policy", Fixed(1, size=99)), "p.yaml")
    assert (
        str(caught.value) == "p.yaml: stages.a.policy: size must be at most max_batch (32), not 99"
    )
