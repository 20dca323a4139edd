"""Backends: the same answers on threads, processes and Ray, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.knob_paths import knob_value
from configs.model import Config
from delayline import sweeping
from delayline.loading import load_config
from delayline.sweeping import design, run_sweep
from delayline.sweeping import measure as measured
from policies.runlog import RunLog
from reports.sweep_table import Row
from sim.backends.base import Backend, BackendError, WorkerLostError
from sim.backends.choose import BackendName, backend, backend_for
from sim.simulate import replications
from tests.command_line import runner, written

NAMES: tuple[BackendName, ...] = ("threads", "processes", "ray")


@pytest.fixture(scope="module")
def on_ray() -> Iterator[Backend]:
    """Ray on this machine with two workers, started once: it takes seconds."""
    with backend("ray", 2) as made:
        yield made


@pytest.fixture(params=NAMES)
def workers(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "ray":
        yield request.getfixturevalue("on_ray")
        return
    with backend(request.param, 2) as made:
        yield made


def refused_at_5(x: int) -> int:
    if x == 5:
        raise ValueError(f"{x} will not do")
    return x * x


def killed_once(marks: Path, x: int) -> int:
    """At 3 and at 7 it dies the first time, as a process does that takes too much memory."""
    if x in (3, 7) and not (marks / str(x)).exists():
        (marks / str(x)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def killed_at_5(x: int) -> int:
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def noted(folder: Path, x: int) -> int:
    (folder / str(x)).touch()
    time.sleep(0.005)
    return x


def test_answers_come_in_the_order_of_the_tasks(workers: Backend) -> None:
    assert workers.workers == 2
    assert list(workers.map(abs, range(-40, 0))) == [abs(x) for x in range(-40, 0)]
    assert list(workers.map(abs, [])) == []


def test_an_error_is_raised_at_its_place_and_the_backend_goes_on(workers: Backend) -> None:
    answers = workers.map(refused_at_5, range(20))
    assert [next(answers) for _ in range(5)] == [0, 1, 4, 9, 16]
    with pytest.raises(ValueError, match=r"^5 will not do$"):
        next(answers)
    assert list(workers.map(refused_at_5, range(3))) == [0, 1, 4]


def test_leaving_early_gives_up_what_has_not_begun(workers: Backend, tmp_path: Path) -> None:
    answers = workers.map(partial(noted, tmp_path), range(10_000))
    assert [next(answers), next(answers)] == [0, 1]
    answers.close()  # type: ignore[attr-defined]
    assert list(workers.map(abs, [-1])) == [1]
    assert len(list(tmp_path.iterdir())) < 1000


@pytest.mark.parametrize("name", ["processes", "ray"])
def test_a_worker_that_is_killed_loses_nothing(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workers = request.getfixturevalue("on_ray") if name == "ray" else backend("processes", 2)
    found = list(workers.map(partial(killed_once, tmp_path), range(20)))
    assert found == [x * x for x in range(20)]
    assert sorted(mark.name for mark in tmp_path.iterdir()) == ["3", "7"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["processes", "ray"])
def test_a_task_that_kills_every_worker_ends_the_work(
    name: str, request: pytest.FixtureRequest
) -> None:
    workers = request.getfixturevalue("on_ray") if name == "ray" else backend("processes", 2)
    answers = workers.map(killed_at_5, range(20))
    assert [next(answers) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(WorkerLostError, match=r"died 4 times .* fewer --jobs or fewer requests$"):
        next(answers)
    assert list(workers.map(abs, [-1])) == [1]


def test_replications_are_the_same_bit_for_bit_on_every_backend(
    on_ray: Backend, tmp_path: Path
) -> None:
    config = load_config(written(tmp_path), ["replications=4", "workload.requests=500"])
    here = list(replications(config))
    for workers in (backend("threads", 2), backend("processes", 2), on_ray):
        there = list(replications(config, backend=workers))
        assert [columns(log) for log in there] == [columns(log) for log in here]


def test_a_sweep_gives_the_same_table_on_every_backend_whatever_dies(
    on_ray: Backend, tmp_path: Path
) -> None:
    config = load_config(written(tmp_path), ["workload.requests=300", "replications=2"])
    over = ["stages.rank.policy.delay=0ms..9ms:10"]
    here = run_sweep(design(config, over), tmp_path / "here.parquet", jobs=1)
    for name, workers in (("processes", backend("processes", 2)), ("ray", on_ray)):
        (marks := tmp_path / name).mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sweeping, "measure", partial(killed_in_mid_sweep, marks))
            there = run_sweep(design(config, over), marks / "out.parquet", backend=workers)
        assert there.table.equals(here.table)
        assert [mark.name for mark in marks.glob("killed*")] == ["killed"]


def killed_in_mid_sweep(marks: Path, config: Config, log: RunLog) -> Row:
    """The worker of one candidate dies when it has simulated it, the first time."""
    delay_ns = knob_value(config, "stages.rank.policy.delay")
    if (delay_ns, log.info["replication"]) == (4_000_000, 1) and not (marks / "killed").exists():
        (marks / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return measured(config, log)


def columns(log: RunLog) -> dict[str, bytes]:
    """Every array of a log, as the bytes that it is made of."""

    def of(name: str, table: Any) -> Iterator[tuple[str, bytes]]:
        for field in fields(table):
            column = getattr(table, field.name)
            if isinstance(column, np.ndarray):
                yield f"{name}.{field.name}", column.tobytes()

    found = dict(of("requests", log.requests))
    for stage in log.stages:
        found |= dict(of(f"{stage.name}.batches", stage.batches))
        found |= dict(of(f"{stage.name}.visits", stage.visits.made()))
    return found


def test_an_address_means_ray(tmp_path: Path) -> None:
    config = load_config(written(tmp_path))
    with pytest.raises(BackendError, match="no Ray cluster answers at"):
        backend_for(config, 1, address=f"127.0.0.1:{free_port()}")
    with pytest.raises(BackendError, match="address is for backend ray; threads run"):
        backend("threads", 1, address="auto")


def test_a_command_says_so_in_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run, path, address = runner(capsys), written(tmp_path), f"127.0.0.1:{free_port()}"
    assert run("simulate", path, "--address", address).error.startswith("no Ray cluster answers")
    error = run("simulate", path, "--backend", "processes", "--address", address).error
    assert error == "address is for backend ray; processes run on this machine"
    assert "'threads', 'processes', 'ray'" in run("simulate", path, "--backend", "dask").error


def test_a_command_prints_the_same_on_every_backend(
    on_ray: Backend, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run, path = runner(capsys), written(tmp_path)
    printed = [
        run("simulate", path, "-n", 3, "--json", *words).object
        for words in ((), *(("-j", 2, "--backend", name) for name in NAMES))
    ]
    assert [{**each, "wall_s": 0} for each in printed] == [{**printed[0], "wall_s": 0}] * 4


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_cluster_that_does_not_answer_is_named_with_what_to_do(address: str) -> None:
    address = address.format(free_port())
    told = f"answers at {address} \\(Connection refused\\); start one by `ray start --head`"
    with pytest.raises(BackendError, match=told):
        backend("ray", 2, address)


@pytest.mark.parametrize("address", ["nonsense", "http://", "ray://host", "host:port"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(BackendError, match="must be auto, HOST:PORT or ray://HOST:PORT, not"):
        backend("ray", 2, address)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendError, match=r"pip install 'delayline\[ray\]'"):
        backend("ray", 2)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(BackendError, match="one of threads, processes, ray, not 'dask'"):
        backend("dask", 2)  # type: ignore[arg-type]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
