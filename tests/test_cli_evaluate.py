"""``delayline evaluate`` from end to end, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from configs.load import parse_config
from configs.yaml_text import read_yaml
from delayline.evaluating import evaluate
from delayline.loading import load_config
from executors.recommender.weights import load
from reports.list_scores import SCORES
from reports.quality_table import read_table, way
from tests.command_line import Run, agrees, runner
from tests.quality_cases import LEVELS, pipeline_file

SHIPPED = Path(__file__).parents[1] / "configs" / "recommender3.yaml"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_it_prints_a_row_for_each_way_and_keeps_the_table(run: Run, tmp_path: Path) -> None:
    config = pipeline_file(tmp_path, levels=LEVELS)
    table = tmp_path / "quality.json"
    said = run("evaluate", config, "--keep", "rank=25,15", "--out", table, "--quiet")
    assert said.code == 0, said.err
    agrees("evaluate", said.out, tmp_path)
    as_json = run("evaluate", config, "--keep", "rank=25,15", "--quiet", "--json").object
    read = read_table(table)
    assert [row["levels"] for row in as_json["rows"]] == [{}, {"rank": 1}] * 2
    for line, row in zip(as_json["rows"], read.rows, strict=True):
        assert row.way == way(line["keep"], line["levels"], line["missing"])
        assert {name: row.scores[name].to_json() for name in SCORES} == {
            name: line[name] for name in SCORES
        }


def test_full_service_is_what_training_measured(tmp_path: Path) -> None:
    """Three ways of recall, fused and narrowed down, on the same held-out interactions."""
    folder = pipeline_file(tmp_path).parent
    text = read_yaml(SHIPPED)
    for stage in text["stages"]:
        stage["model"]["path"] = "weights"
        stage["keep"] = min(stage["keep"], 131)
        if "merge" in stage:
            stage["merge"]["keep"] = 131
    config = parse_config(text, file=folder / "three.yaml")
    found = evaluate(config, keeps={"rank": (50,)})
    trained = load(tmp_path / "weights").evaluation
    assert found.table.rows[0].scores["ndcg"].value == pytest.approx(trained.of("rerank").ndcg_10)
    assert found.table.rows[0].scores["recall"].value == pytest.approx(
        trained.of("rerank").recall_at[10]
    )
    assert found.table.full["agreement"].value == 1
    gone = {row.way.missing for row in found.table.rows}
    assert len(gone) == 7  # every set of the three branches that leaves one
    assert {row.scores["agreement"].value for row in found.table.rows if row.way.missing} != {1}


def test_nothing_of_what_is_held_out_is_known(tmp_path: Path) -> None:
    """A service that knew it would never recommend it."""
    config = load_config(pipeline_file(tmp_path))
    model = config.stages[0].model
    assert model is not None
    served = model.load("cpu", 60)
    judged = model.as_before().load("cpu", 60)
    users = torch.arange(40)
    held_out = torch.from_numpy(model.held_out_items())[:, None]
    with torch.inference_mode():
        assert not (served({"user": users})["candidates"] == held_out).any()
        assert (judged({"user": users})["candidates"] == held_out).any()


def test_narrower_widths_follow_behind_where_none_are_asked_for(tmp_path: Path) -> None:
    found = evaluate(load_config(pipeline_file(tmp_path)))
    widths = [tuple(dict(row.way.keep).values()) for row in found.table.rows]  # by name
    assert widths == [
        (40, 25, 60, 10),
        (30, 25, 30, 10),
        (15, 15, 15, 10),
        (20, 20, 60, 10),
        (10, 10, 60, 10),
        (40, 12, 60, 10),
    ]
    assert min(row.scores["agreement"].value for row in found.table.rows) < 1


def test_some_users_are_drawn_by_the_seed(tmp_path: Path) -> None:
    config = load_config(pipeline_file(tmp_path))
    one, same, other = (evaluate(config, users=20, seed=seed).table for seed in (1, 1, 2))
    assert one.users.tolist() == same.users.tolist() != other.users.tolist()
    assert len(np.unique(one.users)) == 20
    assert [row.scores for row in one.rows] == [row.scores for row in same.rows]


def test_what_is_refused(run: Run, tmp_path: Path) -> None:
    config = pipeline_file(tmp_path)
    for words, said in [
        (("--keep", "rnk=5"), "no stage `rnk` with a keep; did you mean `rank`?"),
        (("--keep", "rank=five"), "write numbers of 1 or more, such as rank=20,50"),
        (("--users", "41"), "--users 41: there are 40 users"),
        (("--ranker", "rnk"), "--ranker rnk: there is no such stage; did you mean `rank`?"),
        (("--ranker", "recall"), "no stage comes before it"),
        (("--out", tmp_path), "is a folder"),
        (("--set", "stages.rank.model={kind: mlp}"), "holds no interaction out to judge by"),
    ]:
        assert said in run("evaluate", config, "--quiet", *words).error
    bare = tmp_path / "bare.yaml"
    bare.write_text("stages: [{name: rank, delay: 1ms}]")
    assert "stage rank has no model" in run("evaluate", bare).error
    missing = run("evaluate", config, "--set", f"stages.recall.model.path={tmp_path / 'none'}")
    assert "is no weights folder" in missing.error
