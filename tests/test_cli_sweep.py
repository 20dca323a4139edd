"""``delayline sweep``: a table and a figure, whole or not at all, and nothing run twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.command_line import TWO_STAGES, Run, agrees, runner, written

DELAY = "stages.rank.policy.delay"
OVER = ("--over", f"{DELAY}=0ms..9ms:4")
SMALL = ("--set", "workload.requests=300")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_a_person_reads_the_best_settings(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path)
    words = (
        "--over",
        "stages.rank.max_batch=[4, 16, 64]",
        "--set",
        "stages.rank.policy.size=10",
    )
    said = run("sweep", path, *OVER, *words, "-n", 2)
    assert (said.code, said.err) == (0, "")
    agrees("sweep", said.out, tmp_path)
    assert pq.read_table("shop.sweep.parquet").num_rows == 24
    assert Path("shop.sweep.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("shop.sweep.parquet", "shop.sweep.svg", "shop.yaml")
    ]


def test_the_object_says_what_was_run_and_what_is_best(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "tables" / "out.parquet"
    found = run("sweep", written(tmp_path), *SMALL, *OVER, "--out", out, "--json").object
    assert list(found) == [
        *("table", "figure", "settings", "replications", "runs", "simulated", "missing", "refused"),
        *("metric", "objective", "met", "best", "wall_s"),
    ]
    assert found["table"] == str(out)
    assert found["figure"] == str(out.with_suffix(".svg"))
    assert [found[name] for name in ("settings", "runs", "simulated", "missing")] == [4, 4, 4, 0]
    rows = pq.read_table(out).to_pylist()
    best = min(rows, key=lambda row: row["busy_s_per_1000"])
    assert found["best"]["setting"] == {f"{DELAY}_ms": best[f"{DELAY}_ms"]}
    assert found["best"]["reached_ms"]["value"] == best["reached_ms"]
    again = run("sweep", written(tmp_path), *SMALL, *OVER, "--out", out, "--json").object
    assert again["simulated"] == 0
    assert again["best"] == found["best"]


def test_without_over_the_ranges_to_tune_are_swept(run: Run, tmp_path: Path) -> None:
    path, out = written(tmp_path), tmp_path / "out.parquet"
    assert run("sweep", path, *SMALL, "--grid", 3, "--out", out, "--json").object["runs"] == 9
    error = run("sweep", path, *SMALL, "--out", tmp_path / "2.parquet").error
    assert error == (
        "stages.recall.policy.delay: has a range without a count; write 0ms..5ms:11, or ask for"
        " --grid 11 or --random 100"
    )


def test_a_random_design_grows_by_what_is_missing(run: Run, tmp_path: Path) -> None:
    path, out = written(tmp_path), tmp_path / "out.parquet"
    first = run("sweep", path, *SMALL, "--random", 5, "--out", out, "--json").object
    assert (first["settings"], first["simulated"]) == (5, 5)
    more = run("sweep", path, *SMALL, "--random", 9, "--out", out, "--json").object
    assert (more["settings"], more["simulated"]) == (9, 4)
    error = run("sweep", path, *SMALL, "--random", 5, "--out", out).error
    assert error.startswith(f"{out} or its journal holds 4 runs that this sweep does not ask for")


@pytest.mark.parametrize(
    ("how", "backend"),
    [(signal.SIGINT, "threads"), (signal.SIGINT, "processes"), (signal.SIGKILL, "threads")],
)
def test_a_sweep_that_is_stopped_goes_on_where_it_was(
    run: Run, tmp_path: Path, how: signal.Signals, backend: str
) -> None:
    path, out = written(tmp_path), tmp_path / "out.parquet"
    journal = tmp_path / "out.parquet.journal"
    words = ("sweep", path, "--over", f"{DELAY}=0ms..9ms:901", "-j", 2, "--out", out, "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "delayline", *map(str, words), "--backend", backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not journal.exists() or journal.read_bytes().count(b"\n") < 20:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    os.killpg(process.pid, how)  # as a terminal does: to the workers too
    told, said = process.communicate(timeout=60)
    assert not out.exists()
    kept = journal.read_bytes().count(b"\n") - 1
    assert 19 <= kept < 901
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert json.loads(told)["missing"] == 901 - kept
        assert said == (
            f"interrupted: {kept} of 901 runs are kept in {journal}; the same command goes on from"
            " there\n"
        )
    else:
        assert (process.returncode, told) == (-signal.SIGKILL, "")
    assert run(*words).object["simulated"] == 901 - kept
    assert not journal.exists()
    whole = tmp_path / "whole.parquet"
    run(*words[:-2], whole)
    assert pq.read_table(out).equals(pq.read_table(whole))


def test_processes_give_the_same_table_as_threads(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    tables = []
    for name in ("threads", "processes"):
        out = tmp_path / f"{name}.parquet"
        run("sweep", path, *SMALL, *OVER, "-n", 2, "-j", 2, "--backend", name, "--out", out)
        tables.append(pq.read_table(out))
    assert tables[0].equals(tables[1])


def test_what_is_refused_has_its_reason_in_the_table(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    words = ("--over", "stages.rank.discipline=[fifo, edf]", "--out", out)
    said = run("sweep", written(tmp_path), *SMALL, *words)
    reason = "stages.rank.discipline: edf needs workload.deadline, which is not set"
    assert f"1 setting was refused, the first: {reason}" in said.out
    rows = pq.read_table(out).select(["status", "reason", "completed"]).to_pylist()
    assert rows == [
        {"status": "ok", "reason": None, "completed": 300},
        {"status": "refused", "reason": reason, "completed": None},
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--over", f"{DELAY}=9ms..1ms:3"], "goes from low to high, but 9ms is not below 1ms"),
        (["--over", f"{DELAY}=[]"], "is an empty list"),
        (["--over", "stages.rank.policy.dleay=[1ms]"], "did you mean `delay`?"),
        (["--over", "nonsense"], "must be PATH=VALUES"),
        ([*OVER, *OVER], "is swept twice"),
        ([*OVER, "--grid", "3", "--random", "3"], "--grid and --random are two designs"),
        ([*OVER, "--metric", "speed"], "metric 'speed' is none; take one of arrived"),
        ([*OVER, "--figure", "out.bmp"], "--figure out.bmp must end in .svg, .png, .pdf"),
        ([*OVER, "--out", "."], "--out . is a folder; give the file to write"),
        ([*OVER, "--out", "a.svg"], "--out and --figure are one file, a.svg"),
        ([*OVER, "--out", "shop.yaml"], "shop.yaml is no table of a sweep"),
        ([*OVER, "--backend", "threads", "--address", "auto"], "address is for backend ray"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path)
    assert told in run("sweep", path, *SMALL, *words).error
    assert os.listdir(tmp_path) == ["shop.yaml"]
    assert path.read_text(encoding="utf-8") == TWO_STAGES


def test_there_must_be_something_to_sweep(run: Run, tmp_path: Path) -> None:
    text = TWO_STAGES[: TWO_STAGES.index("tune:")]
    assert "there is nothing to sweep" in run("sweep", written(tmp_path, text)).error
