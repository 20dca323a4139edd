"""Whatever stands in a file or behind ``--set``: a configuration or a ConfigError, nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import sim.kinds  # noqa: F401
from configs.dump import plain_config
from configs.errors import ConfigError, Problem
from configs.load import parse_config
from configs.yaml_text import parse_yaml
from tests.config_strategies import configs

DRAWN = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

WORDS = st.sampled_from(
    [
        "kind",
        "fixed",
        "immediate",
        "trace",
        "2ms",
        "5/s",
        "10%",
        "a",
        "rank",
        "0",
        "-1",
        "1e999s",
        "",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS
JUNK = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(WORDS | st.integers() | st.none() | st.booleans(), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from([
    "stages", "workload", "arrivals", "items", "policy", "service", "model", "delay", "tune", "devices",
    "name", "after", "device", "kind", "rate", "path", "points", "mean", "requests", "warmup",
    "objective", "validate", "loads", "0", "1", "a", "choices", "low",
])  # fmt: skip


def told(mapping: Any, *overrides: str) -> None:
    """Load, and read what is said if it fails."""
    problems: tuple[Problem, ...] = ()
    try:
        parse_config(mapping, file="p.yaml", overrides=overrides)
    except ConfigError as error:
        problems = error.problems or (Problem("", "", ""),)
    for problem in problems:
        assert problem.source
        assert problem.text


def places(node: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places in plain values."""
    found = [here]
    entries = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in entries:
        found += places(value, (*here, key))
    return found


def replaced(node: Any, place: tuple[Any, ...], junk: Any) -> Any:
    """Plain values with something else in one place."""
    if not place:
        return junk
    key, *rest = place
    inner = replaced(node[key], tuple(rest), junk)
    if isinstance(node, dict):
        return {**node, key: inner}
    return [*node[:key], inner, *node[key + 1 :]]


@DRAWN
@given(st.data())
def test_one_thing_wrong_anywhere(data: st.DataObject) -> None:
    mapping = plain_config(data.draw(configs()))
    place = data.draw(st.sampled_from(places(mapping)[1:]))
    told(replaced(mapping, place, data.draw(JUNK)))


@given(st.dictionaries(KEYS | st.integers(), JUNK, max_size=4))
@example({"stages": [{"name": "a", "service": {"kind": ["x"]}}]})
@example({"stages": [{"name": "a"}, {"name": "a", "after": "a"}]})
@example({"stages": [{"name": ["a"]}, {"name": {}}]})
def test_anything_at_all(mapping: dict[Any, Any]) -> None:
    told(mapping)


BASE = """
workload: {arrivals: {kind: mmpp, rates: [1/s, 2/s], sojourn: [1s, 2s]}, requests: 9}
devices: {a: {cores: [1]}}
stages: [{name: a, delay: 1ms}, {name: rank, service: {kind: table, points: {1: 1ms}}}]
"""


@given(
    st.lists(
        st.tuples(
            st.lists(KEYS, min_size=1, max_size=5).map(".".join), WORDS | st.text(max_size=6)
        ),
        min_size=1,
        max_size=3,
    )
)
@example([("stages.0.service", "{kind: [}")])
@example([("stages.0.policy.kind", "[1]"), ("stages.0.policy.delay", "1ms")])
@example([("stages", "[]"), ("stages.0", "5")])
@example([("stages.a", "5"), ("stages.a.delay", "1ms")])
def test_any_override(given_overrides: list[tuple[str, str]]) -> None:
    told(parse_yaml(BASE, "p.yaml"), *(f"{path}={value}" for path, value in given_overrides))
