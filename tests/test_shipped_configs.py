"""Every configuration that is shipped simulates."""

from __future__ import annotations

from pathlib import Path

import pytest

import delayline
from tests.command_line import runner

SHIPPED = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_there_are_some() -> None:
    assert "mm1.yaml" in [path.name for path in SHIPPED]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_configuration_simulates(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = delayline.load_config(path)
    settings = ["workload.requests=300", *stand_ins(config)]
    words = [word for setting in settings for word in ("--set", setting)]
    found = runner(capsys)("simulate", path, "--json", "-n", 1, *words).object
    assert found["arrived"] == found["completed"] + found["shed"] == 300
    assert (found["shed"] > 0) == config.workload.supersede


def stand_ins(config: delayline.Config) -> list[str]:
    """Service times for the stages whose own are yet to be profiled on this machine."""
    return [
        f"stages.{stage.name}.service={{kind: affine, base: 1ms, per_request: 20us}}"
        for stage in config.stages
        if stage.service.kind == "profile"
    ]
