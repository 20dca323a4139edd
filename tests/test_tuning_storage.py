"""Studies in a storage: they go on as if nothing had been, and are not mistaken for others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

import sim.kinds  # noqa: F401
from configs.knob_paths import with_knob
from configs.model import Config
from policies.runlog import RunLog
from sim.backends.threads import Threads
from sim.tuning.costs import Cost
from sim.tuning.samplers import SamplerName
from sim.tuning.score import Figures
from sim.tuning.search import Search, Trial, search
from sim.tuning.storage import StorageError, shown_url
from tests.test_tuning import TWO, by_delay, config_of
from tests.test_tuning_space import KINDS
from tests.test_tuning_space import config_of as config_of_kinds

TRIALS = 24


def tried(asked: Search, storage: str | None, trials: int = TRIALS, **more: Any) -> list[Trial]:
    return list(search(asked, by_delay, Threads(1), trials=trials, storage=storage, **more))


def asked_for(sampler: SamplerName = "tpe", **more: Any) -> Search:
    return Search(config_of(TWO), Cost("busy"), sampler, **more)


@pytest.mark.parametrize(
    ("sampler", "more"),
    [
        ("tpe", {}),
        ("tpe", {"parts": (4, 1)}),
        ("random", {}),
        ("cmaes", {}),
        ("nsga2", {"goals": ("latency", "cost"), "parts": (16, 4, 1)}),
    ],
)
def test_a_journal_that_was_cut_anywhere_goes_on_as_if_it_had_not_been(
    sampler: SamplerName, more: dict[str, Any], tmp_path: Path
) -> None:
    """Cut at a line as by a kill between two writes, and within one as by a kill during a write."""
    asked = asked_for(sampler, **more)
    whole = tried(asked, f"journal:///{tmp_path}/whole")
    assert whole == tried(asked, None)
    lines = (tmp_path / "whole").read_bytes().splitlines(True)
    assert len(lines) > 100
    for place in range(1, len(lines), 7):
        cut = tmp_path / f"cut{place}"
        torn = lines[place][: len(lines[place]) // 2] if place % 2 else b""
        cut.write_bytes(b"".join(lines[:place]) + torn)
        assert tried(asked, f"journal:///{cut}") == whole, place


def test_a_gaussian_process_goes_on_too(tmp_path: Path) -> None:
    url = f"journal:///{tmp_path}/study"
    asked = asked_for("gp", batch=2)
    tried(asked, url, 11)
    assert tried(asked, url, 13) == tried(asked, None, 13)


def test_knobs_of_kinds_go_on_too(tmp_path: Path) -> None:
    def judge(config: Config, log: RunLog) -> Figures:
        policy: Any = config.stages[0].policy
        return Figures(10 + len(policy.kind) + getattr(policy, "delay_ns", 0) / 1e6, 0, 1)

    asked = Search(config_of_kinds(KINDS), Cost("busy"))
    url = f"sqlite:///{tmp_path}/study.db"

    def found(trials: int, storage: str | None) -> list[Trial]:
        return list(search(asked, judge, Threads(1), trials=trials, storage=storage))

    assert found(1 + 9, url) == found(28, None)[:10]
    assert found(28, url) == found(28, None)


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_more_trials_may_be_asked_for_and_fewer_are_those_at_the_beginning(
    scheme: str, tmp_path: Path
) -> None:
    url = f"{scheme}:///{tmp_path}/study"
    asked = asked_for()
    first = tried(asked, url, 12)
    more = tried(asked, url, 30)
    assert more[:12] == first
    assert len(more) == 30
    assert tried(asked, url, 5) == first[:5]
    assert tried(asked, url, 30) == more


def test_what_was_tried_is_not_tried_again(tmp_path: Path) -> None:
    asked, url = asked_for(), f"sqlite:///{tmp_path}/study"
    runs = 0

    def counted(config: Config, log: RunLog) -> Figures:
        nonlocal runs
        runs += 1
        return by_delay(config, log)

    for _ in range(2):
        list(search(asked, counted, Threads(1), trials=19, storage=url))
    assert runs == 20, "19 settings, and the start once more to see that nothing has changed"


def test_optuna_itself_reads_the_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study"
    found = tried(asked_for(), url, study="mine")
    storage = optuna.storages.RDBStorage(url)
    study = optuna.load_study(study_name="mine", storage=storage)
    assert len(study.trials) == TRIALS
    best = min(trial.figures.latency_ms for trial in found if trial.figures)
    latencies = [trial.user_attrs["figures"]["latency_ms"] for trial in study.trials]
    assert min(latencies) == best
    assert study.trials[0].params["stages.rank.max_batch"] == 16
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sampler": "random"}, "sampler is tpe there and is random here"),
        ({"goals": ("latency",)}, "goals is [] there and is ['latency'] here"),
        ({"batch": 4}, "batch is 9 there and is 4 here"),
        (
            {"config": with_knob(config_of(TWO), "stages.rank.policy.delay", 0)},
            "config.stages.rank.policy.delay is 3ms there and is 0ms here",
        ),
        (
            {"config": replace(config_of(TWO), seed=7)},
            "config.seed is not set there and is 7 here",
        ),
        (
            {"config": config_of({**TWO, "stages.rank.max_batch": [1, 31]})},
            "config.tune.stages.rank.max_batch.high is 32 there and is 31 here",
        ),
    ],
)
def test_a_study_of_something_else_is_refused_and_told_from_this(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    url = f"journal:///{tmp_path}/study"
    tried(asked_for(), url, 3, study="s")
    before = (tmp_path / "study").read_bytes()
    with pytest.raises(StorageError, match="is of another search") as caught:
        tried(replace(asked_for(), **change), url, 3, study="s")
    assert told in str(caught.value)
    assert (tmp_path / "study").read_bytes() == before
    tried(replace(asked_for(), **change), url, 3, study="another")


def test_parts_that_no_trial_hangs_on_may_change(tmp_path: Path) -> None:
    url = f"journal:///{tmp_path}/study"
    first = tried(asked_for(), url, study="s")
    other = replace(config_of(TWO), name="other", provenance={"by": "hand"}, replications=9)
    again = tried(replace(asked_for(), config=other), url, study="s")
    assert [trial.figures for trial in again] == [trial.figures for trial in first]


def test_a_study_of_another_tool_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study"
    storage = optuna.storages.RDBStorage(url)
    optuna.create_study(storage=storage, study_name="s").optimize(lambda trial: 1.0, n_trials=1)
    storage.remove_session()
    storage.engine.dispose()
    with pytest.raises(StorageError, match=r"study s in .* was not made by delayline tune"):
        tried(asked_for(), url, study="s")


def test_a_start_that_comes_out_otherwise_is_told(tmp_path: Path) -> None:
    """As where a profile or a trace was written anew under its old name."""
    url = f"journal:///{tmp_path}/study"
    tried(asked_for(), url)

    def slower(config: Config, log: RunLog) -> Figures:
        found = by_delay(config, log)
        return replace(found, latency_ms=found.latency_ms + 1)

    with pytest.raises(StorageError, match=r"25 ms then, 26 ms now\): a file that the config"):
        list(search(asked_for(), slower, Threads(1), trials=3, storage=url))


def test_two_searches_do_not_share_a_journal(tmp_path: Path) -> None:
    url = f"journal:///{tmp_path}/study"
    first = search(asked_for(), by_delay, Threads(1), trials=9, storage=url)
    next(first)
    with pytest.raises(StorageError, match="is in use by another process"):
        tried(asked_for(), url)
    assert len(list(first)) == 8
    assert len(tried(asked_for(), url)) == TRIALS


def test_two_searches_of_one_study_in_a_database_are_told_of_each_other(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study"
    first = search(asked_for(), by_delay, Threads(1), trials=19, storage=url)
    assert len([next(first) for _ in range(10)]) == 10
    tried(asked_for(), url)
    with pytest.raises(StorageError, match="another process goes on with study config in sqlite"):
        list(first)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("study.db", "storage study.db is no URL; write journal:///FILE, sqlite:///FILE or"),
        ("nosuch://x/y", "storage nosuch://x/y cannot be read: write journal:///FILE"),
        ("journal:///", "names no file"),
        ("journal:///not/there/study", "which is no folder (four slashes begin an absolute path"),
        ("sqlite:///not/there/study", "which is no folder (four slashes begin an absolute path"),
        ("journal:////proc/study", "cannot be used: No such file or directory"),
        (
            "mysql://me:secret@host/base",
            "storage mysql://me:***@host/base needs a package: MySQLdb",
        ),
        (
            "postgresql://me:secret@127.0.0.1:1/base",
            "storage postgresql://me:***@127.0.0.1:1/base cannot be used: connection failed",
        ),
    ],
)
def test_a_storage_that_cannot_be_used_is_told_in_a_line(url: str, told: str) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    with pytest.raises(StorageError) as caught:
        tried(asked_for(), url)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["journal", "sqlite"])
def test_a_file_of_something_else_is_left_as_it_is(scheme: str, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("to do: tune", encoding="utf-8")
    with pytest.raises(StorageError, match="notes"):
        tried(asked_for(), f"{scheme}:///{tmp_path}/notes")
    assert (tmp_path / "notes").read_text(encoding="utf-8") == "to do: tune"


def test_a_password_is_shown_to_nobody() -> None:
    assert shown_url("postgresql://me:a%40b@host/base") == "postgresql://me:***@host/base"
    assert shown_url("sqlite:///a:b@c.db") == "sqlite:///a:b@c.db"


SHOP = """
name: shop
seed: 3
workload: {arrivals: {kind: poisson, rate: 900/s}, requests: 20000}
objective: {latency: 30ms, percentile: 99}
stages:
  - {name: rank, max_batch: 16, service: {kind: affine, base: 2ms, per_request: 100us}, delay: 3ms}
tune:
  stages.rank.policy.delay: [0ms, 10ms]
  stages.rank.max_batch: [1, 32]
"""
FLAGS = ("--trials", "40", "--confirm", "2", "--jobs", "2", "--json", "--quiet")


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "delayline", "tune", "shop.yaml", *FLAGS, *words],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = json.loads(out)
    return {key: found[key] for key in found if key not in ("wall_s", "study", "config")}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_was_stopped_goes_on_to_the_same_end(
    how: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "shop.yaml").write_text(SHOP, encoding="utf-8")
    journal = tmp_path / "study.log"
    stopped = command(tmp_path, "--storage", "journal:///study.log")
    _until(lambda: journal.exists() and len(journal.read_bytes().splitlines()) > 90)
    stopped.send_signal(how)
    out, err = stopped.communicate(timeout=60)
    if how is signal.SIGINT:
        assert stopped.returncode == 130, err
        assert json.loads(out)["confirmed"] is None
        assert 1 < json.loads(out)["trials"] < 40
    else:
        assert stopped.returncode == -signal.SIGKILL
    resumed = outcome(command(tmp_path, "--storage", "journal:///study.log"))
    assert resumed["trials"] == 40
    assert resumed == outcome(command(tmp_path, "--jobs", "1"))


def _until(holds: Any) -> None:
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to that")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a database of a server of its own."""
    pytest.importorskip("psycopg")
    with tempfile.TemporaryDirectory(prefix="postgresql") as folder:
        yield from _server(Path(folder))


def _server(folder: Path) -> Iterator[str]:
    tools = {name: _tool(name) for name in ("initdb", "pg_ctl")}
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        as_user = {"user": "nobody"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(folder / "data")

    def call(tool: str, *words: str) -> None:
        done = subprocess.run(
            [tools[tool], "-D", data, *words], capture_output=True, cwd=folder, **as_user
        )
        if done.returncode:
            pytest.skip(f"{tool} fails here: {done.stderr[-300:]!r}")

    call("initdb", "-A", "trust", "-U", "tuner")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://tuner@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-m", "immediate", "stop")


def _tool(name: str) -> str:
    found = shutil.which(name) or next(
        map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None
    )
    if found is None:
        pytest.skip(f"there is no {name} here")
    return found


def test_a_study_goes_on_in_postgresql(postgresql: str) -> None:
    asked = asked_for("nsga2", goals=("latency", "cost"))
    with closing(search(asked, by_delay, Threads(1), trials=TRIALS, storage=postgresql)) as left:
        for _ in range(14):
            next(left)
    assert tried(asked, postgresql) == tried(asked, None)
