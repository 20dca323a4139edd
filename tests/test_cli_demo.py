"""``delayline train`` and ``demo``, on a small MovieLens folder."""

from __future__ import annotations

import json
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import delayline
from delayline import demo as demo_module
from delayline.cli import main
from reports.invariants import check
from reports.totals import latencies_ns
from tests.command_line import Run, runner

USERS, FILMS, RATINGS = 50, 400, 30
SYSTEMS = [
    "popularity",
    "recall",
    "sequence",
    "covisits",
    "chain",
    "merged",
    "prerank",
    "rank",
    "rerank",
]
SMALL = ("--seconds", 1, "--trials", 2)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture(scope="module")
def interactions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ratings in MovieLens' format, every film rated at least once; films come in two genres."""
    rng = np.random.default_rng(1)
    rows = ["userId,movieId,rating,timestamp"]
    for user in range(USERS):
        first = {user * 8 + k for k in range(8)}
        others = rng.permutation([film for film in range(FILMS) if film not in first])
        films = [*sorted(first), *others[: RATINGS - 8].tolist()]
        rows += [f"{user + 1},{film + 1},4.0,{1000 + k}" for k, film in enumerate(films)]
    folder = tmp_path_factory.mktemp("data") / "ml-tiny"
    folder.mkdir()
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    movies = [f'{film + 1},"Film, the {film}th (19{film % 10}0)",Drama' for film in range(FILMS)]
    text = "\n".join(["movieId,title,genres", *movies]) + "\n"
    (folder / "movies.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def artifacts(interactions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo finds weights that ``train`` has made."""
    folder = tmp_path_factory.mktemp("artifacts")
    out = folder / "recommender-ml-tiny"
    words = ("train", "--interactions", str(interactions), "--out", str(out), "--quiet")
    assert main(words) == 0
    return folder


def test_training_tells_quality_beside_popularity_and_keeps_what_is_there(
    run: Run, interactions: Path, artifacts: Path
) -> None:
    words = ("train", "--interactions", interactions, "--out", artifacts / "recommender-ml-tiny")
    said = run(*words, "--json")
    assert said.code == 0
    found = said.object
    assert found["reused"] is True
    assert found["users"] == USERS
    assert [each["system"] for each in found["systems"]] == SYSTEMS
    for each in found["systems"]:
        assert 0 <= each["ndcg_10"] <= 1
        assert "10" in each["recall_at"]
    table = run(*words).out
    assert [line.split()[0] for line in table.splitlines()[2:11]] == SYSTEMS
    assert "kept the weights of an earlier training" in table


def test_the_demo_does_the_main_job_and_keeps_all_of_it(
    run: Run,
    interactions: Path,
    artifacts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo_module, "PROFILE_RUN_S", 0.1)
    trace, out = tmp_path / "trace.csv", tmp_path / "demo"
    gaps = np.random.default_rng(2).exponential(1.0, 5000)
    trace.write_text("Time\n" + "\n".join(map(str, np.cumsum(gaps))) + "\n")
    stale = out / "report.html"
    out.mkdir()
    stale.write_text("of an earlier demo")
    words = ("demo", "--interactions", interactions, "--artifacts", artifacts, "--out", out)
    said = run(*words, "--trace", trace, *SMALL)
    assert said.code == 0, said.err
    steps = [line.partition(":")[0] for line in said.err.splitlines()]
    assert steps == ["train", "train", "profile", "profile", "tune", "tune", *["run"] * 3, "report"]
    assert "train: weights were there already" in said.err
    lines = said.out.strip().splitlines()
    rows = ["real ", "repeat ", "predicted ", "replayed ", "real, no holds "]
    places = [next(k for k, line in enumerate(lines) if line.startswith(row)) for row in rows]
    assert places == sorted(places)
    assert [line for line in lines if line.startswith("objective: p99 within 50.00 ms: ")]
    assert [line for line in lines if line.startswith("the prediction is off by ")]
    assert lines[-1].endswith(f"open {out}/report.html")
    assert {entry.name for entry in out.iterdir()} == {
        *("profile.json", "tuned.yaml", "report.html"),
        *("real", "predicted", "replayed", "real-without-holds"),
    }
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Simulated against real" in page
    real, predicted = (delayline.read_run(out / of) for of in ("real", "predicted"))
    assert check(real.log) == []
    assert real.log.requests.arrival_ns.tolist() == predicted.log.requests.arrival_ns.tolist()
    assert len(latencies_ns(real.log)) == len(real.log.requests)
    tuned = run("simulate", out / "tuned.yaml", "--json").object
    assert tuned["latency_ms"] == predicted.measure().to_json()["latency_ms"]


def test_generated_weights_lie_where_the_shipped_pipeline_looks() -> None:
    plan = demo_module.DemoPlan(
        interactions=None,
        trace=None,
        trace_column=None,
        folder=Path("runs/demo"),
        artifacts=Path("artifacts"),
        run_s=1.0,
        trials=1,
        seed=1,
        quiet=True,
    )
    shipped = delayline.load_config(demo_module.PIPELINE)
    looked = {delayline.knob_value(shipped, f"stages.{s.name}.model.path") for s in shipped.stages}
    root = demo_module.PIPELINE.parents[1]
    assert {path.resolve() for path in looked} == {(root / plan.weights).resolve()}
    assert replace(plan, interactions=Path("data/ml-tiny")).weights == Path(
        "artifacts/recommender-ml-tiny"
    )


@pytest.mark.parametrize("when", ["as workers start", "as stages are profiled"])
def test_ctrl_c_in_the_demo_says_what_there_is(
    run: Run,
    interactions: Path,
    artifacts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    def pressed(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    def broken_off(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(interrupted=True)

    if when == "as workers start":
        monkeypatch.setattr("executors.replica.Replica.launch", pressed)
    else:
        monkeypatch.setattr(demo_module, "brought_up", lambda *_, **__: nullcontext())
        monkeypatch.setattr(demo_module, "take_profile", broken_off)
    words = ("demo", "--interactions", interactions, "--artifacts", artifacts, "--out", tmp_path)
    said = run(*words)
    assert (said.code, said.out) == (130, "")
    assert said.err.splitlines()[-1] == (
        f"interrupted: what is finished is in {artifacts} (weights) and {tmp_path}"
    )
    assert json.loads((artifacts / "recommender-ml-tiny" / "recommender.json").read_text())
    assert list(tmp_path.iterdir()) == []
