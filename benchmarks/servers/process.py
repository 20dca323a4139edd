"""A server's processes: started in a session of their own, waited for, and always stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.servers.kinds import Kind
from benchmarks.servers.settings import VARIABLE, Settings
from benchmarks.whole_process import ROOT

START_S = 60.0
STOP_S = 15.0
LAST_LINES = 20


class StartError(Exception):
    """The server did not come up."""


@contextmanager
def running(kind: Kind, base_ns: int, per_request_ns: int, max_batch: int) -> Iterator[Settings]:
    """The server on a free port of loopback, ready to answer; its files go with it.

    Raises StartError with its last lines where it does not answer within ``START_S``.
    """
    with tempfile.TemporaryDirectory(prefix="delayline-", ignore_cleanup_errors=True) as folder:
        settings = Settings(
            base_ns,
            per_request_ns,
            max_batch,
            kind.wait_ms * 1_000_000,
            free_port(),
            str(Path(folder, "batches.jsonl")),
        )
        output = Path(folder, "output")
        with output.open("w") as to:
            process = _start(kind, settings, folder, to.fileno())
        try:
            _wait_for(kind, settings.port, process, output)
            yield settings
        finally:
            _stop(process, settings)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(kind: Kind, settings: Settings, folder: str, output: int) -> subprocess.Popen[bytes]:
    own = {name: value.replace("{tmp}", folder) for name, value in kind.environment.items()}
    return subprocess.Popen(
        [part.replace("{port}", str(settings.port)) for part in kind.command],
        cwd=ROOT,
        env={**os.environ, **own, **settings.environment(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _wait_for(kind: Kind, port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + START_S
    while not _ready(f"http://127.0.0.1:{port}{kind.health}", kind.ready):
        if process.poll() is not None or time.monotonic() > end:
            last = "\n".join(output.read_text(errors="replace").splitlines()[-LAST_LINES:])
            code = process.poll()
            what = "did not answer in time" if code is None else f"ended with status {code}"
            raise StartError(f"{kind.name} {what}:\n{last}")
        time.sleep(0.1)


def _ready(address: str, told: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:  # noqa: S310
            return answer.status == 200 and told in answer.read().decode()
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes], settings: Settings) -> None:
    """Ask it to end, as it knows best how to stop its own; then end whatever is left of it."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    end = time.monotonic() + STOP_S
    while time.monotonic() < end and (left := _left(settings)):
        for pid in left:
            _kill(pid)
        time.sleep(0.05)
    process.wait()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _left(settings: Settings) -> list[int]:
    """Processes that were started with these very settings: the log's name is in none other."""
    mark = f"{VARIABLE}={settings.environment()[VARIABLE]}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in variables:
                found.append(int(entry.name))
    return found
