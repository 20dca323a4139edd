"""Compiled functions on disk: found again, made anew where something changed, and never a must."""

from __future__ import annotations

from pathlib import Path

import pytest
from numba import types

from sim.compiled import notice
from sim.compiled.cache import LOOP_NAME, kept

DOUBLE = types.int64(types.int64)
TEXT = f"def {LOOP_NAME}(n):\n    return factor * n\n"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(notice, "listener", lines.append)
    return lines


def test_a_function_is_compiled_once_for_all_that_it_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    monkeypatch.setenv("DELAYLINE_CACHE", str(tmp_path / "new" / "folder"))
    for factor, digest, compilations in ((2, "two", 1), (2, "two", 1), (3, "three", 2)):
        function = kept(LOOP_NAME, TEXT, {"factor": factor}, DOUBLE, digest)
        assert function(7) == 7 * factor
        assert len(told) == compilations
    assert len(list((tmp_path / "new" / "folder").glob("*.py"))) == 2
    assert list((tmp_path / "new" / "folder" / "__pycache__").glob("*.nbc"))


def test_without_a_place_to_keep_it_a_function_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DELAYLINE_CACHE", str(tmp_path / "file" / "folder"))
    assert kept(LOOP_NAME, TEXT, {"factor": 2}, DOUBLE, "two")(7) == 14
    assert told == ["compiling the simulator for this machine; it takes a while, once"]
