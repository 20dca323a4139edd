"""Bad input to commands that run for real: one clear line, exit code 2, and before anything takes long."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.profile import ProfileRun, ServiceProfile, save_profile
from tests.command_line import Run, runner, written
from tests.real_pipelines import TWO_MODELS
from tests.recommender_cases import saved_recommender

REAL = ("run", "profile", "validate")
CLOSED = "workload={arrivals: {kind: closed, clients: 4, think: 1ms}, requests: 50}"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def early(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command that must be refused before a worker is started."""

    def started(*_: object) -> None:
        raise AssertionError("workers were started")

    monkeypatch.setattr("executors.replica.Replica.launch", started)
    return run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path, TWO_MODELS, "pair.yaml")


def a_profile(path: Path, *stages: str) -> Path:
    ones = np.ones(4, np.int64)
    measured = ProfileRun(0.5, "immediate", ones, ones, ones * 1_000_000, ones)
    save_profile(path, ServiceProfile("pair", "", "", {name: [measured] for name in stages}))
    return path


@pytest.mark.parametrize("command", REAL)
def test_a_stage_without_a_model(early: Run, tmp_path: Path, command: str) -> None:
    text = TWO_MODELS.replace("model: {kind: mlp, width: 64, depth: 1, features: 8}", "", 1)
    assert early(command, written(tmp_path, text)).error == (
        "stages.first.model is missing: a real run needs to know what to execute;"
        " simulate needs no model"
    )


@pytest.mark.parametrize("command", REAL)
@pytest.mark.parametrize("knob", ["devices.cpu.cores", "dispatcher.cores"])
def test_cores_that_are_not_there(early: Run, path: Path, command: str, knob: str) -> None:
    error = early(command, path, "--set", f"{knob}=[4096]").error
    assert error.startswith(f"{knob}: core 4096 is not one this process may use (")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{nonsense", "is not JSON (line 1, column 2: Expecting property name"),
        ('{"format": "x"}', "has format 'x', not 'delayline-profile/1'"),
        ("[]", "has format None"),
    ],
)
def test_a_file_that_is_no_profile(early: Run, path: Path, content: str, told: str) -> None:
    file = path.parent / "measured" / "pair.json"
    file.parent.mkdir()
    file.write_text(content)
    for words in (("run", path), ("validate", path, "--profile", file)):
        error = early(*words).error
        assert error.startswith(f"profile {file} {told}")


def test_a_profile_of_other_stages(early: Run, path: Path) -> None:
    file = a_profile(path.parent / "measured" / "pair.json", "first", "secnod")
    told = f"profile {file} has stages first, secnod; none named second; did you mean secnod?"
    for words in (("run", path), ("validate", path, "--profile", file)):
        assert early(*words).error == told


def test_a_profile_that_is_not_there(early: Run, path: Path, tmp_path: Path) -> None:
    missing = tmp_path / "no.json"
    assert early("validate", path, "--profile", missing).error == (
        f"there is no profile {missing}; write one with `delayline profile`"
    )


@pytest.mark.parametrize("command", ["profile", "validate"])
def test_arrivals_whose_rate_cannot_be_set(early: Run, path: Path, command: str) -> None:
    assert early(command, path, "--set", CLOSED).error == (
        "workload.arrivals is closed: its rate follows the answers and cannot be set;"
        " use another kind, such as poisson"
    )


def test_a_profile_needs_a_place(early: Run, path: Path, tmp_path: Path) -> None:
    assert "is a folder; give the file to write with --out FILE" in (
        early("profile", path, "--out", tmp_path).error
    )
    other = "stages.second.service.path=other.json"
    assert early("profile", path, "--set", other).error == (
        f"stages take their service times from {tmp_path}/measured/pair.json and"
        f" {tmp_path}/other.json; say which profile to write with --out FILE"
    )


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("run", "is not the folder of a run (it holds diary.txt); give a new folder"),
        ("validate", "holds more than a validation (diary.txt); give a new folder"),
        ("simulate", "is not the folder of a run (it holds diary.txt); give a new folder"),
    ],
)
def test_a_folder_of_something_else_is_refused_at_once(
    early: Run, path: Path, command: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def simulated(*_: object, **__: object) -> None:
        raise AssertionError("it was simulated")

    monkeypatch.setattr("sim.simulate.simulate", simulated)
    a_profile(path.parent / "measured" / "pair.json", "first", "second")
    mine = path.parent / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear diary")
    assert told in early(command, path, "--out", mine).error
    assert f"{path} is a file; give a folder" in early(command, path, "--out", path).error
    assert [entry.name for entry in mine.iterdir()] == ["diary.txt"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recommender") / "weights"
    saved_recommender(folder)
    return folder


def missing(folder: Path) -> None:
    shutil.rmtree(folder)


def half_written(folder: Path) -> None:
    (folder / "recommender.json").unlink()


def cut_short(folder: Path) -> None:
    with (folder / "models.safetensors").open("r+b") as file:
        file.truncate(1000)


def of_another_shape(folder: Path) -> None:
    tensors = load_file(folder / "models.safetensors")
    tensors["recall.bias"] = torch.zeros(3)
    save_file(tensors, folder / "models.safetensors")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (missing, "recommender.json: no such file; {} is no weights folder. `delayline train`"),
        (half_written, "recommender.json: no such file; {} is no weights folder. `delayline"),
        (cut_short, "models.safetensors: cannot be read as safetensors: "),
        (of_another_shape, "models.safetensors: tensor 'recall.bias' must have shape [160], by"),
    ],
)
def test_weights_that_cannot_be_used(
    run: Run, weights: Path, tmp_path: Path, damage: object, told: str
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder)
    assert callable(damage)
    damage(folder)
    text = "stages: [{name: recall, model: {kind: recommender, stage: recall, path: weights}}]"
    error = run("run", written(tmp_path, text)).error
    cause = f"{folder}/{told.format(folder)}"
    assert error.startswith(f"stage recall: its model cannot be loaded: {cause}")


@pytest.mark.parametrize("command", ["train", "demo"])
def test_interactions_without_ratings(
    early: Run, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ml").mkdir()
    error = early(command, "--interactions", tmp_path / "ml", "--quiet").error
    assert error == (
        f"{tmp_path}/ml/ratings.csv: no such file; give the folder that holds MovieLens' ratings.csv"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["ml"]


def test_training_leaves_a_folder_of_something_else_alone(
    early: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: object) -> None:
        raise AssertionError("it was trained")

    monkeypatch.setattr("executors.recommender.train.train_cascade", trained)
    (tmp_path / "diary.txt").write_text("dear diary")
    assert "exists and is no weights folder" in early("train", "--out", tmp_path).error


@pytest.mark.parametrize(
    ("rows", "words", "told"),
    [
        (None, (), "trace.csv cannot be read: No such file or directory"),
        (
            "when\n0.0\n1.0\n",
            (),
            "no column is named like a time; name it with --trace-column, one of when",
        ),
        (
            "when\n0.0\n1.0\n",
            ("--trace-column", "wen"),
            "has no column 'wen'; it has when; did you mean when?",
        ),
        ("time\n0.0\n\n,\n", (), "trace.csv"),
        ("time,n\n0.0,1\n,1\n", (), "trace.csv, line 3, column time: the value is missing"),
        ("time\n1.0\n1.0\n", (), "all 2 requests arrive at one time"),
    ],
)
def test_traces_of_the_demo_are_read_first(
    early: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: str | None,
    words: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    trace = tmp_path / "trace.csv"
    if rows is not None:
        trace.write_text(rows)
    assert told in early("demo", "--trace", trace, *words).error
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if rows is None else ["trace.csv"])


def test_a_column_needs_a_trace(early: Run) -> None:
    assert early("demo", "--trace-column", "when").error == (
        "--trace-column when needs --trace FILE, which is not given"
    )


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("timestamp\n0.0\n2.0\n1.0\n", "trace.csv, line 4, column timestamp: earlier than the row"),
        ("timestamp,n\n0.0,1\n,1\n2.0,1\n", "trace.csv, line 3, column timestamp"),
    ],
)
@pytest.mark.parametrize("command", REAL)
def test_traces_that_cannot_be_used(
    early: Run, path: Path, command: str, rows: str, told: str
) -> None:
    (path.parent / "trace.csv").write_text(rows)
    setting = "workload={arrivals: {kind: trace, path: trace.csv}}"
    assert told in early(command, path, "--set", setting).error


def test_a_full_disk_is_named_and_left_clean(run: Run, path: Path, tiny_disk: Path) -> None:
    (path.parent / "measured").mkdir()
    out = tiny_disk / "run"
    many = ("--set", "workload={arrivals: 4000/s, requests: 2000}")
    error = run("run", path, *many, "--out", out).error
    assert error.startswith(f"no space for the records in {out}: they need up to ")
    profile = tiny_disk / "pair.json"
    error = run("profile", path, "--seconds", "0.1", "--out", profile).error
    assert error == f"{profile}: No space left on device"
    assert list(tiny_disk.iterdir()) == []
