"""Scores by hand, predictions from runs made by hand, and tables of another model refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from reports.confidence import Estimate
from reports.list_scores import SCORES, means, scores
from reports.quality_table import (
    QualityError,
    QualityTable,
    Row,
    Way,
    needed,
    read_table,
    way,
    write_table,
)

KEEP = {"recall": 20, "rank": 10}


def sure(value: float) -> dict[str, Estimate]:
    return {name: Estimate(value, value - 0.1, value + 0.1) for name in SCORES}


def table_of(*ways: tuple[Way, float]) -> QualityTable:
    return QualityTable(
        stages=[{"name": "recall"}, {"name": "rank"}],
        digest="d",
        ranker="rank",
        candidates=50,
        seed=1,
        length=10,
        full=sure(0.5),
        rows=[Row(each, sure(value)) for each, value in ways],
        users=np.array([4, 2]),
        held_out=np.array([7, 9]),
        full_lists=np.array([[1, 2], [3, 4]]),
    )


def test_scores_are_those_computed_by_hand() -> None:
    lists = np.array([[5, 6, 7], [7, 1, 2], [8, 9, 1]])
    full = np.array([[5, 7, 9], [0, 3, 4], [9, 8, -1]])
    found = scores(lists, np.array([7, 7, 0]), full)
    assert found["ndcg"].tolist() == [1 / math.log2(4), 1.0, 0.0]
    assert found["recall"].tolist() == [1, 1, 0]
    assert found["agreement"].tolist() == [pytest.approx(2 / 3), 0, 1]


def test_ndcg_looks_at_ten_places_and_recall_at_all() -> None:
    lists = np.arange(12)[None, :].repeat(2, axis=0)
    found = scores(lists, np.array([9, 10]), lists)
    assert found["ndcg"].tolist() == [1 / math.log2(11), 0.0]
    assert found["recall"].tolist() == [1, 1]


def test_an_interval_counts_users_and_not_their_requests() -> None:
    rng = np.random.default_rng(5)
    each = {"ndcg": rng.random(200)}
    once = means(each, np.arange(200), seed=1)["ndcg"]
    often = means({"ndcg": each["ndcg"].repeat(50)}, np.arange(200).repeat(50), seed=1)["ndcg"]
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert often.value == pytest.approx(each["ndcg"].mean())
    wide = 1.96 * each["ndcg"].std() / math.sqrt(200)
    assert once.low == pytest.approx(once.value - wide, abs=0.15 * wide)
    assert once.high == pytest.approx(once.value + wide, abs=0.15 * wide)
    assert means(each, np.zeros(200, np.int64), seed=1)["ndcg"].low is None


def test_a_stage_counts_only_if_its_result_reached_the_answer() -> None:
    parents = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d",)}
    assert needed(parents, []) == set("abcde")
    assert needed(parents, [("b", "d")]) == set("acde")
    assert needed({"a": (), "b": (), "d": ("a", "b")}, [("a", "d")]) == {"b", "d"}


def test_a_table_reads_back_as_it_was(tmp_path: Path) -> None:
    wrote = table_of((way(KEEP, {"rank": 1}, ["recall"]), 0.25), (way(KEEP), 0.75))
    write_table(tmp_path / "t.json", wrote)
    read = read_table(tmp_path / "t.json")
    assert list(read.rows) == list(wrote.rows)
    assert (read.full, read.digest, read.length) == (wrote.full, "d", 10)
    assert read.users.tolist() == [4, 2]
    assert read.full_lists.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other/1"}, "format must be 'delayline-quality/1', not 'other/1'"),
        ({"rows": []}, "hold too little"),
        ({"users": [1]}, "differ in length"),
        ({"digest": None, "full": {}}, "KeyError at 'ndcg'"),
        ({"length": "ten"}, "ValueError at invalid literal"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    file = tmp_path / "t.json"
    write_table(file, table_of((way(KEEP), 0.5)))
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(QualityError, match=said) as error:
        read_table(file)
    assert str(error.value).startswith(str(file))


def test_no_table_says_how_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(
        QualityError, match=r"no such file; `delayline evaluate CONFIG --out t.json`"
    ):
        read_table(tmp_path / "t.json")
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(QualityError, match="cannot be read as JSON"):
        read_table(tmp_path / "t.json")
