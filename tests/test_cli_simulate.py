"""``delayline simulate``: its object, its tables, its records, and what an interrupt leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import delayline
from tests.command_line import Run, agrees, runner, written

LATENCIES = ["mean", "p50", "p90", "p95", "p99", "p99.9", "max"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_json_is_the_promised_object(run: Run, tmp_path: Path) -> None:
    said = run("simulate", written(tmp_path), "--json")
    assert said.code == 0
    assert said.err == ""
    found = said.object
    assert list(found) == [
        *("engine", "seed", "arrived", "completed", "shed", "expired", "failed"),
        *("duration_s", "throughput_rps", "goodput_rps", "latency_ms", "stages", "cost"),
        *("engine_reason", "wall_s"),
    ]
    assert list(found["latency_ms"]) == LATENCIES
    assert list(found["stages"]) == ["recall", "rank"]
    for stage in found["stages"].values():
        assert list(stage) == [
            *("batches", "mean_batch", "utilization", "hold_ms", "queue_ms", "service_ms"),
        ]
        for times in ("hold_ms", "queue_ms", "service_ms"):
            assert list(stage[times]) == ["mean", "p99"]
    assert list(found["cost"]) == [
        "busy_seconds",
        "discarded_seconds",
        "replica_seconds",
        "replica_seconds_per_1000",
    ]
    assert (found["engine"], found["seed"]) == ("compiled", 3)
    assert found["engine_reason"] == "every part compiles"
    assert found["arrived"] == found["completed"] == 2000


def test_json_says_what_the_library_says(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    log = delayline.simulate(delayline.load_config(path))
    told = run("simulate", path, "--json").object
    del told["wall_s"], told["engine_reason"]
    assert told == delayline.measure(log, objective_ns=30_000_000).to_json()


def test_a_person_reads_a_table(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    agrees("simulate", run("simulate", path).out, tmp_path)
    agrees("simulate_replications", run("simulate", path, "-n", 3).out, tmp_path)


def test_replications_are_means_with_intervals(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    found = run("simulate", path, "-n", 3, "--json").object
    config = delayline.load_config(path, ["replications=3"])
    each: list[Any] = [
        delayline.measure(log, objective_ns=30_000_000).to_json()
        for log in delayline.replications(config)
    ]
    means = [one["latency_ms"]["mean"] for one in each]
    assert len(set(means)) == 3
    assert found["latency_ms"]["mean"] == pytest.approx(sum(means) / 3)
    assert (found["replications"]["n"], found["replications"]["confidence"]) == (3, 0.95)
    interval = found["replications"]["latency_ms"]["mean"]
    assert interval["estimate"] == found["latency_ms"]["mean"]
    assert interval["low"] < interval["estimate"] < interval["high"]
    assert set(found["replications"]["stages"]["rank"]) == set(found["stages"]["rank"])
    on_two = run("simulate", path, "-n", 3, "--json", "--jobs", 2).object
    assert {**on_two, "wall_s": 0} == {**found, "wall_s": 0}


def test_options_are_settings(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    given = run("simulate", path, "--json", "--seed", 9).object
    set_so = run("simulate", path, "--json", "--set", "seed=9").object
    assert given["seed"] == 9
    assert {**given, "wall_s": 0} == {**set_so, "wall_s": 0}


def test_records_are_the_run(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "one"
    found = run("simulate", written(tmp_path), "--json", "--out", out).object
    recorded = delayline.read_run(out)
    assert recorded.name == "shop"
    del found["wall_s"], found["engine_reason"]
    assert recorded.measure().to_json() == found


def test_the_driver_can_be_chosen_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    found = {
        engine: run("simulate", path, "--json", "--engine", engine).object
        for engine in ("compiled", "simpy")
    }
    for engine, figures in found.items():
        assert figures.pop("engine") == engine
        assert figures.pop("engine_reason") == "asked for"
        del figures["wall_s"]
    assert found["compiled"] == found["simpy"]


def test_a_run_that_does_not_compile_says_why(run: Run, tmp_path: Path) -> None:
    stages = ", ".join(f"{{name: s{k}}}" for k in range(63))
    path = written(tmp_path, f"stages: [{stages}]")
    said = run("simulate", path)
    assert said.out.splitlines()[-1] == (
        "on the reference driver: the pipeline has more than 62 stages"
    )
    refused = run("simulate", path, "--engine", "compiled")
    assert (refused.code, refused.err.splitlines()[-1]) == (
        2,
        "error: engine compiled cannot run this: the pipeline has more than 62 stages;"
        " leave engine out, or use simpy",
    )


def test_replications_are_recorded_side_by_side_and_replace_an_earlier_set(
    run: Run, tmp_path: Path
) -> None:
    path, out = written(tmp_path), tmp_path / "runs"
    run("simulate", path, "-n", 3, "--out", out)
    assert sorted(entry.name for entry in out.iterdir()) == ["rep-0", "rep-1", "rep-2"]
    run("simulate", path, "-n", 2, "--out", out, "--seed", 5)
    assert sorted(entry.name for entry in out.iterdir()) == ["rep-0", "rep-1"]
    assert delayline.read_run(out / "rep-1").log.info["seed"] == 5
    assert "holds rep-0" in run("simulate", path, "--out", out).err


def test_replications_leave_other_files_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "diary.txt").write_text("mine")
    said = run("simulate", written(tmp_path), "-n", 2, "--out", tmp_path / "runs")
    assert "holds more than replications (diary.txt)" in said.error
    assert [entry.name for entry in (tmp_path / "runs").iterdir()] == ["diary.txt"]


def test_warm_up_is_cut(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = run("simulate", path, "--json").object
    cut = run("simulate", path, "--json", "--set", "warmup=50%").object
    assert cut["duration_s"] == pytest.approx(whole["duration_s"] / 2, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["workload.arrivals.rate=9000/s"], "unstable: 9,000.0 requests/s come and at most"),
        (["stages.rank.service=0ms"], "batches of rank take no time at all"),
        (["stages.recall.service=0ms", "stages.rank.service=0ms"], "batches of recall, rank take"),
    ],
)
def test_what_makes_figures_doubtful_is_noted(
    run: Run, tmp_path: Path, settings: list[str], told: str
) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    said = run("simulate", written(tmp_path), *words)
    assert said.code == 0
    (note,) = said.err.splitlines()
    assert note.startswith("note: ")
    assert told in note
    assert run("simulate", written(tmp_path), *words, "--quiet").err == ""


def test_clients_that_wait_for_answers_are_not_called_unstable(run: Run, tmp_path: Path) -> None:
    closed = "workload.arrivals={kind: closed, clients: 50, think: 0ms}"
    assert run("simulate", written(tmp_path), "--set", closed).err == ""


def test_an_objective_counts_who_got_no_answer(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    assert "p99 within 30.00 ms: met" in run("simulate", path).out
    shedding = ["--set", "stages.rank.queue_bound=1", "--set", "stages.rank.policy.delay=0ms"]
    said = run("simulate", path, *shedding)
    assert "NOT met, too many requests have no answer" in said.out


def test_an_interrupt_keeps_the_replications_that_are_finished(tmp_path: Path) -> None:
    path, out = written(tmp_path), tmp_path / "runs"
    process = subprocess.Popen(
        [sys.executable, "-m", "delayline", "simulate", path, "-n", "5000", "--json", "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (out / "rep-2").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told, said = process.communicate(timeout=60)
    assert process.returncode == 130
    n = json.loads(told)["replications"]["n"]
    assert said.splitlines()[-1] == f"interrupted: {n} of 5000 replications are finished"
    folders = sorted(entry.name for entry in out.iterdir())
    assert n <= len(folders) <= n + 1
    assert len(delayline.read_run(out / f"rep-{n - 1}").log.requests) == 2000
    assert not [name for name in folders if name.startswith(".")]
