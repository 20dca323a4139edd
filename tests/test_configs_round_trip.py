"""Whatever can be configured survives being written down, and the schema takes it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sim.kinds  # noqa: F401
from configs.dump import dump_config, plain_config
from configs.json_schema import json_schema
from configs.load import load_config, parse_config
from configs.model import Config
from configs.yaml_text import dump_yaml, parse_yaml
from tests.config_strategies import FOLDER, configs

SCHEMA = json_schema()
DRAWN = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@DRAWN
@given(configs())
def test_a_dumped_config_loads_back_as_it_was(config: Config) -> None:
    text = dump_config(config, FOLDER)
    again = parse_config(parse_yaml(text, "again"), file=FOLDER / "again.yaml")
    assert again == config
    assert dump_config(again, FOLDER) == text


@DRAWN
@given(configs())
def test_the_schema_takes_what_the_loader_takes(config: Config) -> None:
    document = json.loads(json.dumps(plain_config(config)))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)


@DRAWN
@given(configs())
def test_a_config_can_be_sent_to_another_process(config: Config) -> None:
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_plain_values_survive_yaml(value: object) -> None:
    assert parse_yaml(dump_yaml(value), "x") == value


def test_paths_below_the_folder_are_written_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "workload: {arrivals: {kind: trace, path: data/../data/t.csv}}\n"
        "stages: [{name: a, service: {kind: profile, path: /elsewhere/p.json}}]\n"
    )
    config = load_config(file)
    assert config.workload.arrivals.path == tmp_path / "data" / "t.csv"
    text = dump_config(config, tmp_path)
    assert "path: data/t.csv" in text
    assert "path: /elsewhere/p.json" in text
    assert str(tmp_path) in dump_config(config, tmp_path / "other")


def test_the_first_line_names_the_schema_for_editors() -> None:
    config = parse_config({"stages": [{"name": "a"}]}, file="a.yaml")
    assert dump_config(config, schema="../s.json").splitlines()[0] == (
        "# yaml-language-server: $schema=../s.json"
    )


@pytest.mark.parametrize(
    "text", ["1e3", "yes", "010", "1:30", "0x1f", "~", "2020-01-01", "<<", "1_0"]
)
def test_text_that_looks_like_another_value_stays_text(text: str) -> None:
    config = parse_config({"name": text, "stages": [{"name": "a"}]})
    assert parse_config(parse_yaml(dump_config(config), "x")).name == text
