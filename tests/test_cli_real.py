"""``delayline profile``, ``run``, ``validate`` and ``train``: real workers behind the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import delayline
from configs.profile import load_profile
from reports.invariants import check
from reports.validation import read as read_validation
from tests.command_line import Run, runner, written
from tests.real_pipelines import TWO_MODELS, interrupted

LATENCIES = ["mean", "p50", "p90", "p95", "p99", "p99.9", "max"]
COMPARED = ["mean", "p50", "p95", "p99"]
LONG = ("--set", "workload.requests=1000000")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration in a folder with its profile, which the command has taken."""
    folder = tmp_path_factory.mktemp("pair")
    path = written(folder, TWO_MODELS, "pair.yaml")
    words = ("profile", path, "--seconds", "0.1", "--json")
    line = [sys.executable, "-m", "delayline", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert list(told) == ["profile", "capacity_rps", "stages"]
    assert told["profile"] == str(folder / "measured" / "pair.json")
    assert list(told["stages"]) == ["first", "second"]
    found = load_profile(told["profile"])
    for name, stage in told["stages"].items():
        assert stage["batches"] == sum(len(each.service_ns) for each in found.stages[name])
        assert stage["mean_ms"] > 0
    assert told["capacity_rps"] > 0
    assert found.pipeline == "pair"
    return path


def test_a_run_is_the_promised_object_and_its_records_are_that_run(
    run: Run, profiled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    said = run("run", profiled, "--json", "--quiet", "--out", out)
    assert (said.code, said.err) == (0, "")
    found = said.object
    assert list(found) == [
        *("engine", "seed", "arrived", "completed", "shed", "expired", "failed"),
        *("duration_s", "throughput_rps", "goodput_rps", "latency_ms", "stages", "cost", "wall_s"),
    ]
    assert (found["engine"], found["seed"], found["arrived"]) == ("torch", 2, 150)
    assert found["completed"] == 150
    assert list(found["latency_ms"]) == LATENCIES
    assert list(found["stages"]) == ["first", "second"]
    for stage in found["stages"].values():
        assert list(stage) == [
            *("batches", "mean_batch", "utilization", "hold_ms", "queue_ms", "service_ms"),
        ]
    recorded = delayline.read_run(out)
    assert {**recorded.measure().to_json(), "wall_s": found["wall_s"]} == found
    assert recorded.real
    assert check(recorded.log) == []
    compared = run("compare", out, profiled, "--json").object
    assert compared["paired"][0]["requests"] == 150, "the simulation has the arrivals of the run"
    page = tmp_path / "report.html"
    assert run("report", out, "--out", page).code == 0
    assert "torch" in page.read_text(encoding="utf-8")


def test_a_run_needs_no_profile_but_says_that_it_had_none(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, TWO_MODELS, "pair.yaml")
    said = run("run", path, "--set", "workload.requests=20")
    assert said.code == 0
    assert "note: there is no profile yet" in said.err
    assert "pair: 20 requests in" in said.out


def test_what_tuning_writes_is_run_unchanged_from_any_folder(
    run: Run, profiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = tmp_path / "elsewhere" / "tuned.yaml"
    few = ("--trials", 3, "--confirm", 2, "--requests", 150)
    assert run("tune", profiled, *few, "--out", tuned).code == 0
    monkeypatch.chdir(tmp_path)
    found = run("run", "elsewhere/tuned.yaml", "--json").object
    assert (found["engine"], found["completed"]) == ("torch", 150)


def test_validate_is_the_promised_object_and_keeps_what_is_behind_it(
    run: Run, profiled: Path, tmp_path: Path
) -> None:
    out, profile = tmp_path / "validation", profiled.parent / "measured" / "pair.json"
    (out / "scenario-7").mkdir(parents=True)  # of an earlier, longer validation
    said = run("validate", profiled, "--profile", profile, "--json", "--out", out)
    assert (said.code, said.err) == (0, "")
    found = said.object
    assert list(found) == ["scenarios", "summary", "wall_s"]
    assert [each["load"] for each in found["scenarios"]] == [0.002, 0.004]
    for each in found["scenarios"]:
        assert list(each) == [
            *("name", "load", "policy", "real"),
            *("predicted_error_pct", "replayed_error_pct", "repeat_error_pct"),
        ]
        assert each["policy"] == "fixed 1 ms"
        for source in ("predicted", "replayed", "repeat"):
            assert list(each[f"{source}_error_pct"]) == COMPARED
    assert list(found["summary"]) == ["predicted", "replayed", "repeat"]
    for summary in found["summary"].values():
        assert list(summary) == ["median_abs_pct", "p95_abs_pct"]
    kept = read_validation(out / "validation.json").to_json()
    assert kept == {key: found[key] for key in ("scenarios", "summary")}
    assert sorted(entry.name for entry in out.iterdir()) == [
        *("scenario-0", "scenario-1", "validation.json"),
    ]
    page = tmp_path / "validation.html"
    assert run("report", out, "--out", page).code == 0
    assert "over 2 scenarios" in page.read_text(encoding="utf-8")
    real, predicted = (delayline.read_run(out / "scenario-1" / of) for of in ("real", "predicted"))
    assert real.name == "load 0.004, hold 1 ms, real"
    assert real.real
    assert not predicted.real
    assert real.log.requests.arrival_ns.tolist() == predicted.log.requests.arrival_ns.tolist()


def test_ctrl_c_in_a_run_keeps_what_was_sent(profiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["run", profiled, *LONG, "--json", "--out", out]
    ended = interrupted(words, _some)
    assert ended.code == 130
    assert "interrupted: the figures are of the requests that had been sent" in ended.screen
    arrived = json.loads(ended.out)["arrived"]
    assert 0 < arrived < 1_000_000
    recorded = delayline.read_run(out)
    assert len(recorded.log.requests) == arrived
    assert check(recorded.log) == []


def _some(screen: str) -> bool:
    """Whether the bar of the run shows that some requests have ended."""
    _, running, after = screen.rpartition("running")
    return bool(running) and "/1000000" in after and " 0/1000000" not in after


def test_ctrl_c_in_a_profile_keeps_the_runs_that_are_finished(tmp_path: Path) -> None:
    path = written(tmp_path, TWO_MODELS, "pair.yaml")
    words = ["profile", path, "--seconds", "2", "--json"]
    ended = interrupted(words, lambda screen: "load 0.3" in screen)
    assert ended.code == 130
    assert "interrupted: the profile holds the runs that were finished" in ended.screen
    (saturated,) = load_profile(tmp_path / "measured" / "pair.json").stages["first"]
    assert saturated.load == 1.0
    assert json.loads(ended.out)["stages"]["first"]["batches"] == len(saturated.service_ns)


def test_ctrl_c_in_a_validation_keeps_the_scenarios_that_are_finished(
    profiled: Path, tmp_path: Path
) -> None:
    out, profile = tmp_path / "validation", profiled.parent / "measured" / "pair.json"
    loads = "validate.loads=[0.002, 0.002, 0.002, 0.002, 0.002, 0.002, 0.002, 0.002, 0.002]"
    words = ["validate", profiled, "--profile", profile, "--set", loads, "--json", "--out", out]
    ended = interrupted(words, lambda _: (out / "validation.json").exists())
    assert ended.code == 130
    kept = read_validation(out / "validation.json").scenarios
    assert json.loads(ended.out)["scenarios"] == [each.to_json() for each in kept]
    assert f"interrupted: {len(kept)} scenarios are finished" in ended.screen
    for number in range(len(kept)):
        assert delayline.read_run(out / f"scenario-{number}" / "repeat").real


def test_ctrl_c_while_a_validation_profiles_ends_it(profiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "validation"
    ended = interrupted(["validate", profiled, "--out", out], lambda screen: "load 0.3" in screen)
    assert (ended.code, ended.out) == (130, "")
    assert "interrupted: no scenarios are finished" in ended.screen
    assert [entry.name for entry in out.iterdir()] == ["profile.json"]
    assert len(load_profile(out / "profile.json").stages["first"]) == 1


def test_ctrl_c_while_workers_start_leaves_nothing(profiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = interrupted(["run", profiled, "--out", out], lambda screen: "starting" in screen)
    assert (ended.code, ended.out) == (130, "")
    assert "Traceback" not in ended.screen
    assert not out.exists()
