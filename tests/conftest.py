"""Shared test settings: hypothesis profiles, where the real data lies, and a disk that is soon full."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every machine, so that a suite that passed here passes there; `make fuzz` looks on.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "fuzz", deadline=None, max_examples=3000, suppress_health_check=[HealthCheck.too_slow]
)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun in the background of a script, where Ctrl-C is ignored: tests that send it would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real traces and interactions; tests that need it are skipped without."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session", autouse=True)
def no_lines_of_progress() -> Iterator[None]:
    """What commands print must not hang on how fast the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("delayline.console.LINE_EVERY_S", inf)
        yield


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 KiB; only where mounting is allowed."""
    point = tmp_path / "disk"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(point)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield point
    subprocess.run(["umount", str(point)], check=True)
