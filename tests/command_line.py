"""The command line in this process, and small configurations to give it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from delayline.cli import main

GOLDEN = Path(__file__).parent / "golden"
TWO_STAGES = """
name: shop
seed: 3
workload: {arrivals: {kind: poisson, rate: 900/s}, requests: 2000}
objective: {latency: 30ms, percentile: 99}
stages:
  - name: recall
    max_batch: 8
    service: {kind: affine, base: 1ms, per_request: 100us}
    policy: {kind: fixed, delay: 1ms}
  - name: rank
    max_batch: 16
    service: {kind: affine, base: 2ms, per_request: 100us}
    policy: {kind: fixed, delay: 3ms}
tune:
  stages.recall.policy.delay: [0ms, 5ms]
  stages.rank.policy.delay: [0ms, 10ms]
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def object(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on stderr of a command that was given bad input."""
        assert self.code == 2, self
        assert self.out == "", self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), lines[0]
        return lines[0].removeprefix("error: ")


Run = Callable[..., Said]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line, each word made text."""

    def run(*words: object) -> Said:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


def written(folder: Path, text: str = TWO_STAGES, name: str = "shop.yaml") -> Path:
    """A configuration file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def agrees(name: str, text: str, folder: Path) -> None:
    """Fails unless ``text``, its wall times and folders masked, is that of ``tests/golden``.

    ``GOLDEN=write`` in the environment writes what there is now, to be looked at in the diff.
    """
    text = re.sub(r"(simulated|tuned|planned|evaluated) in [0-9.]+ s", r"\1 in _ s", text)
    text = text.replace(str(folder), "FOLDER")
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
