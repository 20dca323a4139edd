"""Runs as whole processes: their wall time and peak memory, imports and all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended well."""

    wall_s: float
    output: str


def module(name: str, *arguments: str) -> Ended:
    """Run a module of the repository with this Python."""
    return run([sys.executable, "-m", name, *arguments])


def delayline(*arguments: str) -> Ended:
    """Run the command line as installed beside this Python."""
    return run([str(Path(sys.executable).with_name("delayline")), *arguments])


def run(command: Sequence[str]) -> Ended:
    """Run a command from the root of the repository. Raises RuntimeError with its errors if it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    wall_s = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return Ended(wall_s, done.stdout)


def pin_to_one_core() -> None:
    """Keep this process, and the threads that it starts, on a single core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def peak_bytes() -> int:
    """The most memory that this process has had (Linux).

    Not ``ru_maxrss``: that counts what the parent had before the process ran a program of its own.
    """
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
