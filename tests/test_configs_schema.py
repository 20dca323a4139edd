"""The JSON schema: a valid one, current, and as strict as the loader where a schema can be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sim.kinds  # noqa: F401
from configs.json_schema import json_schema
from configs.kinds import kinds
from configs.yaml_text import read_yaml

SHIPPED = Path(__file__).resolve().parents[1] / "configs"
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def fits(document: dict[str, Any]) -> bool:
    return bool(VALIDATOR.is_valid(json.loads(json.dumps(document))))


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_shipped_schema_is_current() -> None:
    # In a process of its own: tests register kinds of theirs in this one.
    code = (
        "import sys, delayline.loading; from configs.json_schema import schema_text;"
        "sys.stdout.reconfigure(encoding='utf-8'); sys.stdout.write(schema_text())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.decode() == (SHIPPED / "schema.json").read_text(encoding="utf-8"), (
        "run `delayline schema --out configs/schema.json`"
    )


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_fit_the_shipped_schema(path: Path) -> None:
    schema = json.loads((SHIPPED / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(read_yaml(path))))


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(SCHEMA)
    targets = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', text))
    assert targets
    for target in targets:
        place = SCHEMA["$defs"]
        for part in target.split("/"):
            place = place[part]
    assert '"part"' not in text


def test_every_kind_and_every_knob_is_described() -> None:
    for family in ("arrivals", "items", "keys", "service", "policy", "admission"):
        for name in kinds(family):
            part = SCHEMA["$defs"][f"{name}_{family}"]
            assert part["additionalProperties"] is False
            assert part["description"]
            assert part["properties"].pop("kind") == {"const": name, "type": "string"}
            assert all(knob["description"] for knob in part["properties"].values())


STAGE = {"name": "a"}


@pytest.mark.parametrize(
    "part",
    [
        {"stages": [{"name": "a", "delay": "2ms"}]},
        {"stages": [{"name": "a", "delay": 0}]},
        {"stages": [{"name": "a", "policy": "immediate", "service": "2ms"}]},
        {"stages": [STAGE], "workload": {"arrivals": "5/s", "requests": 5, "items": 7}},
        {"stages": [STAGE], "tune": {"seed": [1, 2]}, "warmup": "10%"},
        {"stages": [STAGE], "tune": {"seed": {"low": 1, "high": 2, "log": True}}},
    ],
)
def test_what_fits(part: dict[str, Any]) -> None:
    assert fits(part)


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"stages": [{}]},
        {"stages": [{"name": "a", "replica": 1}]},
        {"stages": [{"name": "a.b"}]},
        {"stages": [{"name": "a", "delay": 2}]},
        {"stages": [{"name": "a", "delay": "2"}]},
        {"stages": [{"name": "a", "delay": "2ms", "policy": "immediate"}]},
        {"stages": [{"name": "a", "policy": "fixed"}]},
        {"stages": [{"name": "a", "policy": {"kind": "fixd", "delay": "1ms"}}]},
        {"stages": [{"name": "a", "policy": {"kind": "fixed", "delay": "1ms", "x": 1}}]},
        {"stages": [{"name": "a", "replicas": 0}]},
        {"stages": [STAGE], "workload": {"arrivals": {"kind": "poisson", "rate": "5"}}},
        {"stages": [STAGE], "devices": {"a.b": {}}},
        {"stages": [STAGE], "tune": {"seed": [1]}},
    ],
)
def test_what_does_not_fit(part: dict[str, Any]) -> None:
    assert not fits(part)
