"""A small pipeline for real runs, and commands in processes of their own that are interrupted."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TWO_MODELS = """
name: pair
seed: 2
workload: {arrivals: {kind: poisson, rate: 300/s}, requests: 150}
objective: {latency: 200ms, percentile: 99}
devices: {cpu: {slots: 1}}
stages:
  - name: first
    max_batch: 8
    device: cpu
    model: {kind: mlp, width: 64, depth: 1, features: 8}
    service: {kind: profile, path: measured/pair.json}
    policy: {kind: fixed, delay: 1ms}
  - name: second
    max_batch: 8
    device: cpu
    model: {kind: mlp, width: 64, depth: 1, features: 8}
    service: {kind: profile, path: measured/pair.json}
    policy: {kind: fixed, delay: 2ms}
tune:
  stages.second.policy.delay: [0ms, 3ms]
validate: {loads: [0.002, 0.004], holds: [1ms], duration: 500ms}
"""
"""Loads are small, since a model of this size bears many thousands a second and tests share cores."""

_MARK = "DELAYLINE_TEST_MARK"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an interrupted command ended."""

    code: int
    out: str
    screen: str
    """What a terminal showed of stderr."""


def interrupted(words: list[object], ready: Callable[[str], bool]) -> Ended:
    """Run a command as in a terminal, and press Ctrl-C once ``ready`` says so of what it shows.

    Fails where any process that it started is there afterwards.
    """
    mark = uuid.uuid4().hex
    screen, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "delayline", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", _MARK: mark},
        start_new_session=True,
    )
    os.close(theirs)
    os.set_blocking(screen, False)
    shown = ""
    deadline_s = time.monotonic() + 120
    try:
        while not ready(shown):
            assert process.poll() is None, shown
            assert time.monotonic() < deadline_s, shown
            shown += _read(screen)
            time.sleep(0.02)
        assert process.pid in marked(mark)
        # Ctrl-C goes to all processes of a terminal's foreground group, workers included.
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        shown += _read(screen)
    finally:
        process.kill()
        process.wait()
        os.close(screen)
    left_s = time.monotonic() + 10
    while left := marked(mark):  # Python's own resource tracker goes a moment after its owner
        assert time.monotonic() < left_s, left
        time.sleep(0.05)
    return Ended(process.returncode, out, shown)


def _read(screen: int) -> str:
    try:
        return os.read(screen, 1 << 16).decode(errors="replace")
    except (BlockingIOError, OSError):  # nothing new, or everybody has hung up
        return ""


def marked(mark: str) -> list[int]:
    """Processes that live and have this mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:  # it has gone meanwhile, or is another user's
            continue
    return found
