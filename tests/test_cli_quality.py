"""Quality in `simulate` and `run`: predicted from a table, measured on real lists, and tables refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from delayline.evaluating import evaluate, served
from delayline.loading import load_config
from delayline.quality import quality_model
from delayline.real import brought_up, run_judged
from executors.offline import Offline
from policies.degrade import FULL
from policies.workload import Workload
from reports.list_scores import SCORES, means, scores
from reports.quality_table import read_table, way, write_table
from tests.command_line import Run, agrees, runner
from tests.quality_cases import LEVELS, pipeline_file

QUALITY = "quality: {path: quality.json}"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A configuration with levels, and its quality table."""
    config = pipeline_file(tmp_path, levels=LEVELS, more=QUALITY)
    found = evaluate(load_config(config), keeps={"rank": (25, 15)})
    write_table(tmp_path / "quality.json", found.table)
    return config


def test_a_simulation_tells_quality_by_how_requests_were_served(run: Run, judged: Path) -> None:
    busy = ("--set", "workload.arrivals=9000/s", "--quiet")
    said = run("simulate", judged, *busy)
    assert said.code == 0, said.err
    agrees("simulate_quality", said.out, judged.parent)
    found = run(
        "simulate", judged, *busy, "-n", 3, "--json", "--out", judged.parent / "runs"
    ).object
    predicted = found["quality"]["predicted"]
    assert found["quality"]["measured"] is None
    assert {tuple(each["levels"].items()) for each in predicted["served"]} == {(), (("rank", 1),)}
    mixed = sum(each["share"] * each["ndcg"]["value"] for each in predicted["served"])
    assert predicted["ndcg"]["value"] == pytest.approx(mixed)
    page = judged.parent / "report.html"
    assert run("report", judged.parent / "runs" / "rep-0", "--out", page).code == 0
    assert "rank at level 1" in page.read_text()


def test_without_quality_nothing_is_said_of_it(run: Run, judged: Path) -> None:
    said = run("simulate", judged, "--set", "quality=null", "--quiet")
    assert "NDCG" not in said.out
    assert "quality" not in run("simulate", judged, "--set", "quality=null", "--json").object


def test_lists_of_a_real_run_are_exactly_those_of_the_evaluation(judged: Path) -> None:
    """Same users, all served in full."""
    config = load_config(judged, ["stages.rank.degrade.raise_above=10s"])
    model = quality_model(config)
    assert model is not None
    with brought_up(config) as executor:
        workload = Workload.of(np.arange(120, dtype=np.int64) * 2_000_000)
        log, quality = run_judged(config, executor, workload, model)
        users = executor.sample_inputs(120)["user"]
    assert (log.requests.level == FULL).all()
    assert quality.measured is not None
    assert quality.predicted is not None
    assert [part.row.way for part in quality.predicted.parts] == [way(config.keeps())]
    lists = Offline(config, users).lists(served())
    table = model.table
    offline = means(
        scores(lists, table.held_out[users], table.full_lists[users]), users, table.seed
    )
    assert quality.measured.scores == offline
    assert quality.measured.requests == 120


def test_a_run_prints_measured_beside_predicted_and_records_both(run: Run, judged: Path) -> None:
    out = judged.parent / "real"
    said = run("run", judged, "--set", "workload.requests=60", "--out", out, "--quiet")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert any(line.startswith("predicted ") for line in lines)
    assert any(line.startswith("measured ") for line in lines)
    page = judged.parent / "real.html"
    assert run("report", out, "--out", page).code == 0
    assert "<td>measured</td><td>60</td>" in page.read_text()


def test_a_table_of_another_model_is_refused(run: Run, judged: Path, tmp_path: Path) -> None:
    table = tmp_path / "quality.json"
    for words, said in [
        (("stages.rank.levels=[{take: 31, cost: 0.8}]",), "levels of stage rank is [{'take': 25"),
        (("stages.rank.model.stage=prerank",), "model of stage rank is"),
        (
            ("stages.rank.name=score",),
            "its stages are recall, prerank, rank, rerank, and here they are",
        ),
        (("stages.rank.keep=20",), "no row for keep prerank=40, rank=20, recall=60, rerank=10"),
        (("quality.path=none.json",), "none.json: no such file; `delayline evaluate CONFIG --out"),
    ]:
        sets = [word for each in words for word in ("--set", each)]
        error = run("simulate", judged, *sets).error
        assert said in error
        assert "quality.json" in error or "none.json" in error
    weights = tmp_path / "weights" / "models.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert f"{table}: the table is of other weights" in run("simulate", judged).error
    (tmp_path / "weights" / "recommender.json").unlink()
    assert run("simulate", judged, "--quiet").code == 0  # a prediction needs no weights


def test_plans_on_their_models_are_measured(run: Run, judged: Path) -> None:
    words = ("--plan", "cascade", "--requests", 200, "-n", 1, "--loads", "0.02", "--quiet")
    said = run("compare", judged, "--plans", *words, "--real", "--seconds", 0.5, "--json")
    assert said.code == 0, said.err
    simulated, real = said.object["plans"]
    assert (simulated["real"], real["real"]) == (False, True)
    assert 0 < real["quality"]["agreement"] < 1
    assert real["quality"] != simulated["quality"]  # of the users that were sent, not of all


def test_plans_are_compared_by_quality_too(run: Run, judged: Path) -> None:
    """The monolith's lists are the full model's; what degrades is told by how it served."""
    words = ("--requests", 400, "-n", 2, "--loads", "0.95", "--quiet")
    plans = ("--plan", "monolith", "--plan", "degraded")
    said = run("compare", judged, "--plans", *words, *plans, "--json")
    assert said.code == 0, said.err
    quality = {row["plan"]: row["quality"] for row in said.object["plans"]}
    table = read_table(judged.parent / "quality.json")
    full, cheaper = ({name: row.scores[name].value for name in SCORES} for row in table.rows[:2])
    best = {name: table.full[name].value for name in SCORES}
    assert quality["cascade"] == full
    assert quality["monolith"] == best
    ends = sorted((full["ndcg"], cheaper["ndcg"]))
    assert ends[0] <= quality["degraded"]["ndcg"] <= ends[1]
    shown = run("compare", judged, "--plans", *words, "--plan", "monolith").out
    assert f"{best['ndcg']:.4g}" in shown
    assert "NDCG" in shown


TUNE = """
tune:
  stages.rank.keep: {choices: [25, 15]}
  stages.rank.degrade.raise_above: [300us, 5ms]
  stages.recall.policy: {choices: [immediate, {kind: fixed, delay: 1ms}]}
"""


def test_quality_is_a_goal_beside_latency_and_cost(run: Run, judged: Path) -> None:
    judged.write_text(judged.read_text() + TUNE)
    words = (
        "--set",
        "workload.arrivals=9000/s",
        "--requests",
        1000,
        "--trials",
        30,
        "--confirm",
        3,
    )
    out = judged.parent / "tuned.yaml"
    goals = ("--goals", "latency,cost,quality")
    said = run("tune", judged, *words, *goals, "--out", out, "--quiet", "--json")
    assert said.code == 0, said.err
    front = said.object["front"]
    values = [(each["latency_ms"], each["cost"], each["lost"]) for each in front]
    assert len(values) == len(set(values)) > 1
    for one in values:
        assert not any(
            all(a <= b for a, b in zip(other, one, strict=True)) for other in values if other != one
        )
    rows = read_table(judged.parent / "quality.json").rows
    own = rows[0].scores["ndcg"].value
    for each in front:  # a mixture of full service and of the level, at the width
        width = each["setting"]["stages.rank.keep"]
        found = [
            1 - row.scores["ndcg"].value / own for row in rows if ("rank", width) in row.way.keep
        ]
        assert min(found) - 1e-9 <= each["lost"] <= max(found) + 1e-9
    assert said.object["best"]["lost"] <= 0.02
    shown = run("tune", judged, *words, *goals, "--out", out, "--quiet").out
    assert "(latency, cost and quality by themselves)" in shown
    assert "share of NDCG@10 lost" in shown
    assert "no other is better than in all" in shown


def test_what_quality_cannot_be_tuned_by_is_refused(run: Run, judged: Path) -> None:
    goals = ("--goals", "latency,quality", "--trials", 3, "--confirm", 2)
    for tune, said in [
        ("{stages.rank.keep: [15, 25]}", "quality is known of single widths alone; give choices"),
        (
            "{stages.rank.keep: {choices: [25, 20]}}",
            "no row for rank keeping 20; evaluate with --keep",
        ),
        ("{stages.rank.merge: {choices: [null]}}", "quality is known of levels, merges and models"),
    ]:
        assert said in run("tune", judged, "--set", f"tune={tune}", *goals).error
    alone = run("tune", judged, "--set", "tune={seed: [1, 2]}", "--goals", "quality")
    assert "quality alone is best where nothing is saved" in alone.error
