"""Scores by hand, predictions from runs made by hand, and tables of another model refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from policies.runlog import BatchLog, DeviceLog, RequestLog, RunLog, StageLog, VisitLog
from reports import records
from reports.confidence import Estimate
from reports.html import render
from reports.list_scores import SCORES, means, scores
from reports.quality import RunQuality, measured, ndcg_of_each, over_runs, predicted
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
from reports.run import Run
from reports.timeline import timeline

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


NEVER = -1
Times = tuple[int, int]
"""When a request entered a stage's queue, and when its batch was over."""


def stage_of(
    name: str, parents: tuple[str, ...], times: list[Times], levels: list[int] | None = None
) -> StageLog:
    """Each request in a batch of its own; one whose batch is never over was not sent."""
    count = len(times)
    entered, over = np.array(times).T
    sent = np.flatnonzero(over != NEVER)
    row = np.full(count, -1)
    row[sent] = np.arange(len(sent))
    order = np.argsort(row < 0, kind="stable")
    ones = np.ones(len(sent), np.int64)
    level = None if levels is None else np.array(levels, np.int8)[sent]
    batches = BatchLog(
        batch=np.arange(len(sent)),
        replica=np.zeros(len(sent), np.int32),
        dispatched_ns=entered[sent],
        started_ns=entered[sent],
        finished_ns=over[sent],
        requests=ones,
        items=ones,
        attempt=ones.astype(np.int8),
        lost=np.zeros(len(sent), np.bool_),
        discarded=np.zeros(len(sent), np.bool_),
        level=level,
    )
    visits = VisitLog(np.arange(count)[order], entered[order], row[order])
    return StageLog(name, 1, (0,), 1, "", parents, batches, visits, partial=len(parents) > 1)


def log_of(*stages: StageLog, outcome: list[int]) -> RunLog:
    count = len(outcome)
    zeros, ended = np.zeros(count, np.int64), np.full(count, 100)
    tiny = np.zeros(count, np.int8)
    arrival = np.arange(count, dtype=np.int64)
    outcomes = np.array(outcome, np.int8)
    requests = RequestLog(arrival, ended, zeros + 1, ended, outcomes, tiny, tiny)
    return RunLog(requests, stages, (DeviceLog("d", 1),), 100)


def test_a_prediction_is_of_how_each_request_was_served() -> None:
    """Of five: in full, a at level 1, without b, without a (whose level then counts for nothing), expired."""
    log = log_of(
        stage_of("a", (), [(0, 10), (0, 10), (0, 10), (0, 30), (0, 10)], [0, 1, 0, 1, 1]),
        stage_of("b", (), [(0, 10), (0, 10), (0, 21), (0, 10), (0, 10)]),
        stage_of("d", ("a", "b"), [(10, 50), (20, 50), (20, 50), (20, 50), (20, NEVER)]),
        outcome=[1, 1, 1, 1, 3],
    )
    ways = {way(KEEP): 0.8, way(KEEP, {"a": 1}): 0.4, way(KEEP, {}, ["b"]): 0.6}
    table = table_of(*ways.items(), (way(KEEP, {}, ["a"]), 0.2))
    found = predicted(table, KEEP, log)
    assert found is not None
    for name in SCORES:
        each = found.scores[name]
        assert (each.value, each.low, each.high) == pytest.approx((0.5, 0.4, 0.6))
    told = {part.row.way.told(): part.share for part in found.parts}
    assert told == {"": 0.25, "a at level 1": 0.25, "without b": 0.25, "without a": 0.25}
    each_ndcg = ndcg_of_each(found, log)
    assert each_ndcg[:4].tolist() == [0.8, 0.4, 0.6, 0.2]
    assert math.isnan(each_ndcg[4])
    line = timeline(log, ndcg=each_ndcg)
    assert line.ndcg is not None
    assert line.ndcg.tolist() == [pytest.approx(0.5)]
    assert timeline(log).ndcg is None
    late = predicted(table, KEEP, log, warmup_ns=3)
    assert late is not None
    assert (late.scores["ndcg"].value, late.requests) == (0.2, 1)
    assert predicted(table, KEEP, log, warmup_ns=4) is None


def test_a_way_that_was_not_measured_is_named_with_what_to_do() -> None:
    full = log_of(stage_of("a", (), [(0, 10)], [0]), outcome=[1])
    cheap = log_of(stage_of("a", (), [(0, 10)], [2]), outcome=[1])
    table = table_of((way(KEEP), 0.8))
    with pytest.raises(QualityError, match=r"no row for keep rank=5, recall=20; .* --keep rank=5"):
        predicted(table, {"recall": 20, "rank": 5}, full)
    with pytest.raises(QualityError, match="no row for a at level 2 at keep rank=10, recall=20"):
        predicted(table, KEEP, cheap)
    with pytest.raises(QualityError, match="keep candidates at rank, recall, not at prerank, rank"):
        predicted(table, {"prerank": 20, "rank": 5}, full)


def test_measured_is_of_the_lists_of_known_users() -> None:
    log = log_of(stage_of("a", (), [(0, 10)] * 5), outcome=[1, 1, 1, 1, 3])
    users = np.array([2, 4, 3, 4, 2])
    lists = np.array([[9, 3], [7, 1], [7, 7], [0, 7], [9, 9]])
    found = measured(table_of((way(KEEP), 0.8)), log, users, lists)
    assert found is not None
    assert (found.requests, found.unjudged) == (3, 1)
    assert found.scores["ndcg"].value == pytest.approx((1 + 1 + 1 / math.log2(3)) / 3)
    assert found.scores["recall"].value == 1
    assert found.scores["agreement"].value == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert measured(table_of((way(KEEP), 0.8)), log, users + 10, lists) is None


def test_quality_is_recorded_and_stands_in_the_report(tmp_path: Path) -> None:
    log = log_of(stage_of("a", (), [(0, 10), (0, 10)], [0, 1]), outcome=[1, 1])
    table = table_of((way(KEEP), 0.8), (way(KEEP, {"a": 1}), 0.4))
    found = RunQuality(
        predicted(table, KEEP, log), measured(table, log, np.array([2, 4]), np.array([[9], [9]]))
    )
    records.write(tmp_path / "run", Run("small", log, quality=found))
    read = records.read(tmp_path / "run")
    assert read.quality == found
    page = render([read])
    assert "Quality of the lists" in page
    assert "a at level 1" in page
    assert "as predicted by how they were served" in page
    assert "Quality of the lists" not in render([Run("small", log)])
    records.write(tmp_path / "other", Run("small", log))
    assert records.read(tmp_path / "other").quality is None


def test_replications_are_averaged_with_their_ways() -> None:
    table = table_of((way(KEEP), 0.8), (way(KEEP, {"a": 1}), 0.4))
    logs = [log_of(stage_of("a", (), [(0, 10)], [level]), outcome=[1]) for level in (0, 1)]
    each = [predicted(table, KEEP, log) for log in logs]
    found = over_runs([one for one in each if one is not None])
    assert found.scores["recall"].value == pytest.approx(0.6)
    assert [(part.row.way.told(), part.share) for part in found.parts] == [
        ("", 0.5),
        ("a at level 1", 0.5),
    ]
