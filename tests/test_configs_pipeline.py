"""From a configuration to the pipeline that the scheduler takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim.kinds  # noqa: F401
from configs.load import parse_config
from configs.model import StageConfig
from configs.pipeline import branches, pipeline_of
from policies.fixed import Fixed
from policies.pipeline import Device, Discipline, Stage


def linear(stage: StageConfig) -> Callable[[int], int]:
    return lambda requests: requests * len(stage.name)


def test_every_key_reaches_the_pipeline() -> None:
    config = parse_config(
        {
            "workload": {"deadline": "5ms", "expire": True},
            "estimates": {"window": "7ms", "weight": 0.25},
            "devices": {"gpu0": {"slots": 2}, "cpu": {}},
            "stages": [
                {"name": "late", "after": "first", "device": "cpu"},
                {
                    "name": "first",
                    "replicas": 2,
                    "max_batch": 8,
                    "max_items": 50,
                    "discipline": "edf",
                    "queue_bound": 9,
                    "device": "gpu0",
                    "delay": "1ms",
                },
            ],
        }
    )
    pipeline = pipeline_of(config, linear)
    assert [stage.name for stage in pipeline.stages] == ["first", "late"]
    first, late = pipeline.stages
    assert first.predict_ns(3) == 15
    assert first == Stage(
        name="first",
        policy=Fixed(1_000_000),
        predict_ns=first.predict_ns,
        replicas=2,
        max_batch=8,
        max_items=50,
        discipline=Discipline.EDF,
        queue_bound=9,
        device=("gpu0", "gpu0"),
        parents=(),
        branch="",
    )
    assert (late.parents, late.device) == (("first",), ("cpu",))
    assert pipeline.devices == (Device("gpu0", 2), Device("cpu", 1))
    assert pipeline.expire
    assert (pipeline.estimate_window_ns, pipeline.estimate_weight) == (7_000_000, 0.25)


def test_a_stage_without_a_device_names_none() -> None:
    config = parse_config({"stages": [{"name": "a", "replicas": 3}]})
    assert pipeline_of(config, linear).stages[0].device == ()


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        ({"a": (), "b": ("a",), "c": ("b",)}, {"a": "", "b": "", "c": ""}),
        (
            {"a": (), "b": ("a",), "c": ("b",), "d": ("a",), "e": ("c", "d")},
            {"a": "", "b": "b", "c": "b", "d": "d", "e": ""},
        ),
        ({"a": (), "b": ()}, {"a": "a", "b": "b"}),
        # A branch that forks again: its arms are branches of their own.
        (
            {"a": (), "b": ("a",), "c": ("b",), "d": ("b",), "e": ("c", "d"), "f": ("a",)},
            {"a": "", "b": "b", "c": "c", "d": "d", "e": "e", "f": "f"},
        ),
        # A shortcut past a stage forks nothing: every stage comes before or after each other one.
        ({"a": (), "b": ("a",), "c": ("a", "b")}, {"a": "", "b": "", "c": ""}),
    ],
)
def test_branches(parents: dict[str, tuple[str, ...]], expected: dict[str, str]) -> None:
    assert branches(parents) == expected


@given(st.lists(st.lists(st.integers(0, 6), unique=True), min_size=1, max_size=7))
def test_stages_of_one_branch_never_run_side_by_side(drawn: list[list[int]]) -> None:
    parents = {f"s{i}": tuple(f"s{p}" for p in ps if p < i) for i, ps in enumerate(drawn)}
    found = branches(parents)
    before: dict[str, set[str]] = {}
    for name, above in parents.items():
        before[name] = set(above).union(*(before[p] for p in above))
    for one in parents:
        for other in parents:
            side_by_side = one != other and one not in before[other] and other not in before[one]
            if side_by_side:
                assert found[one] != found[other]
                assert found[one]
