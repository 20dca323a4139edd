"""Merges on real workers: the right values, with branches missing too, and the same as offline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from executors.answering import Answering
from executors.executor import Executor
from executors.merging import loaded
from executors.session import ExecutorError
from executors.stage_model import ModelSource, TensorSpec
from executors.wiring import ModelSpecs, WiringError, wire
from policies.immediate import Immediate
from policies.merge import Merge
from policies.merge_concat import Concat
from policies.merge_function import FunctionMerge
from policies.merge_logit_mean import LogitMean
from policies.merge_mean import Mean
from policies.merge_mmr import Mmr
from policies.merge_rrf import Rrf
from policies.merge_side_by_side import SideBySide
from policies.merge_top_k import TopK
from policies.merge_zip import Zip
from policies.pipeline import Pipeline, Stage
from policies.ranked_lists import fused
from policies.runlog import Outcome
from policies.workload import Workload
from reports.invariants import check
from reports.paths import missing, missing_share
from tests.executor_models import WIDTH, Linear, Passes, Ranked

MS_NS = 1_000_000
FLOAT = TensorSpec((3,), "float32")


def joined(merge: Merge | None, *branches: str) -> Pipeline:
    """Branches that clients' requests begin at, and a stage that joins them."""
    names = branches or ("fast", "slow")
    stages = [Stage(name, Immediate(), lambda n: n * MS_NS, max_batch=4) for name in names]
    join = Stage("join", Immediate(), lambda n: n * MS_NS, max_batch=8, parents=names, merge=merge)
    return Pipeline((*stages, join))


def workload(count: int, gap_ns: int = 4 * MS_NS) -> Workload:
    return Workload(
        np.arange(count, dtype=np.int64) * gap_ns,
        np.full(count, 2**62),
        np.ones(count, np.int64),
        np.zeros(count, np.int8),
    )


def lists(slow_s: float = 0.0) -> dict[str, ModelSource]:
    return {"fast": Ranked(step=1), "slow": Ranked(step=3, work_s=slow_s), "join": Passes()}


def test_a_slow_branch_is_missing_and_the_lists_are_those_of_the_branches_that_came() -> None:
    pipeline = joined(Rrf(deadline_ns=15 * MS_NS))
    users = {"user": np.arange(40)}
    with Executor(pipeline, lists(slow_s=0.03)) as executor:
        result = executor.run(workload(40), users)
        again = executor.run(workload(4), users, pipeline=joined(Rrf()))
    log = result.log
    assert check(log) == []
    assert (log.requests.outcome == Outcome.COMPLETED).all()
    gone = missing(log)["join"]
    assert not gone["fast"].any()
    assert gone["slow"].any()
    assert missing_share(log) == pytest.approx(gone["slow"].mean() / 2)
    assert missing(again.log) == {}
    offline = Answering(pipeline, lists())
    for answers, wanted in (
        (result.answers, offline.answers(users, missing(log))),
        (again.answers, offline.answers({"user": users["user"][:4]})),
    ):
        assert answers is not None
        for name in ("candidates", "scores"):
            np.testing.assert_array_equal(answers[name], wanted[name])
    place = np.arange(4)
    for row in np.flatnonzero(gone["slow"])[:5]:
        ids, scores = fused([(row + place)[None] % 50], [1], 60, 4)
        assert result.answers is not None
        np.testing.assert_array_equal(result.answers["candidates"][row], ids[0])
        np.testing.assert_array_equal(result.answers["scores"][row], scores[0])


def test_work_of_a_late_branch_is_given_up_in_its_queue_and_wasted_where_it_runs() -> None:
    pipeline = joined(SideBySide(deadline_ns=5 * MS_NS, default={"slow": -7.0}))
    sources: dict[str, ModelSource] = {
        "fast": Linear("x", "y", factor=2.0),
        "slow": Linear("x", "w", factor=3.0, work_s=0.05),
        "join": Linear("y", "z", also="w"),
    }
    x = np.arange(1, 37, dtype=np.float32).reshape(12, WIDTH)
    with Executor(pipeline, sources) as executor:
        result = executor.run(workload(12, MS_NS), {"x": x})
    log = result.log
    assert check(log) == []
    assert result.answers is not None
    gone = missing(log)["join"]["slow"]
    assert gone.all()
    np.testing.assert_array_equal(result.answers["z"], 2 * x - 7)
    slow = log.stages[1]
    assert 0 < slow.batches.requests.sum() < 12
    assert (slow.visits.row < 0).any()


def test_a_users_function_merges_before_the_model_runs() -> None:
    merge = FunctionMerge(function="tests.executor_models:thirds", arguments={"scale": 0.5})
    sources: dict[str, ModelSource] = {
        "fast": Linear("x", "y"),
        "slow": Linear("x", "y", factor=3.0),
        "join": Linear("y", "z"),
    }
    x = np.random.default_rng(0).random((10, WIDTH)).astype(np.float32)
    with Executor(joined(merge), sources) as executor:
        result = executor.run(workload(10, MS_NS), {"x": x})
        with pytest.raises(ExecutorError, match=r"stages\.join\.merge: the workers that are up"):
            executor.run(workload(1), {"x": x}, pipeline=joined(Concat()))
    assert result.answers is not None
    np.testing.assert_allclose(result.answers["z"], 2 * x + 2, rtol=1e-6)


def test_offline_a_request_without_a_branch_is_served_without_it() -> None:
    sources: dict[str, ModelSource] = {
        "fast": Linear("x", "y"),
        "slow": Linear("x", "y", factor=3.0),
        "join": Linear("y", "z"),
    }
    x = np.ones((100, WIDTH), np.float32)
    late = np.arange(100) % 3 == 0
    offline = Answering(joined(Mean(quorum=1)), sources)
    found = offline.answers({"x": x}, {"join": {"slow": late}})["z"]
    np.testing.assert_array_equal(found, np.where(late, 1.0, 2.0)[:, None] * x)
    for wrong, said in (
        ({"rank": {"slow": late}}, "no branch 'slow' ends in stage 'rank'"),
        ({"join": {"slow": late[:3]}}, "missing for (3,) requests, and there are 100"),
        ({"join": {"slow": late, "fast": late}}, "goes on from stage 'join' without any branch"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            offline.answers({"x": x}, wrong)


def test_what_lies_behind_a_branch_that_is_missing_is_missing_too() -> None:
    """A tensor reaches a stage by way of the branches that its joins went on with, or not at all."""
    stages = [
        Stage("a", Immediate(), lambda n: n),
        Stage("b", Immediate(), lambda n: n, parents=("a",)),
        Stage("c", Immediate(), lambda n: n, parents=("a",)),
        Stage("d", Immediate(), lambda n: n, parents=("b", "c"), merge=SideBySide(quorum=1)),
        Stage("e", Immediate(), lambda n: n, parents=("d",)),
    ]
    sources: dict[str, ModelSource] = {
        "a": Linear("x", "a"),
        "b": Linear("a", "b", factor=2.0),
        "c": Linear("a", "c", factor=4.0),
        "d": Linear("b", "d"),
        "e": Linear("d", "z", also="c"),
    }
    x = np.ones((4, WIDTH), np.float32)
    gone = {"b": np.array([True, False, False, False]), "c": np.array([False, True, False, False])}
    found = Answering(Pipeline(tuple(stages)), sources).answers({"x": x}, {"d": gone})["z"]
    assert found[:, 0].tolist() == [4.0, 2.0, 6.0, 6.0]


def branch(**outputs: TensorSpec) -> ModelSpecs:
    return ModelSpecs({"x": FLOAT}, outputs)


ITEMS, SCORES = TensorSpec((4,), "int64"), TensorSpec((4,), "float32")
LIST = {"candidates": ITEMS, "scores": SCORES}


@pytest.mark.parametrize(
    ("merge", "one", "other", "takes", "text"),
    [
        (
            Rrf(),
            LIST,
            {"items": ITEMS},
            LIST,
            "stage join, merge rrf: branch slow puts out no 'candidates', only items; have it put that out,"
            " or name another tensor by merge.candidates",
        ),
        (
            TopK(),
            LIST,
            {"candidates": ITEMS},
            LIST,
            "stage join, merge top_k: branch slow puts out no 'scores', only candidates; have it put that"
            " out, or name another tensor by merge.scores",
        ),
        (
            TopK(),
            LIST,
            {"candidates": ITEMS, "scores": FLOAT},
            LIST,
            "stage join, merge top_k: branch slow puts out 'scores' as float32 of shape (3,) for 'candidates'"
            " of shape (4,); give one float32 a candidate",
        ),
        (
            Rrf(),
            LIST,
            {"candidates": SCORES},
            LIST,
            "stage join, merge rrf: branch slow puts out 'candidates' as float32 of shape (4,) a request; a"
            " list of item numbers is int64 of one size",
        ),
        (
            Mmr(),
            {**LIST, "vectors": TensorSpec((4, 8), "float32")},
            {**LIST, "vectors": TensorSpec((4, 6), "float32")},
            LIST,
            "stage join, merge mmr: branch slow puts out 'vectors' of width 6, branch fast of 8; likeness"
            " needs vectors of one model",
        ),
        (
            Rrf(),
            LIST,
            LIST,
            {"x": FLOAT},
            "stage join, merge rrf: it makes 'candidates' and 'scores', and the stage takes neither; name"
            " what it takes by merge.candidates and merge.scores",
        ),
        (
            Rrf(keep=2),
            LIST,
            LIST,
            LIST,
            "stage join takes 'candidates' as int64 of shape (4,) a request; its merge gives int64 of shape"
            " (2,)",
        ),
        (
            Mean(),
            {"y": FLOAT},
            {"y": SCORES},
            {"y": FLOAT},
            "stage join, merge mean: branch fast puts out 'y' as float32 of shape (3,), branch slow as"
            " float32 of shape (4,); make them alike",
        ),
        (
            LogitMean(),
            {"y": ITEMS},
            {"y": ITEMS},
            {"y": ITEMS},
            "stage join, merge logit_mean: the branches put out 'y' as int64, of which there is no mean;"
            " convert it to float32 in the models, or merge by zip or concat",
        ),
        (
            Zip(),
            {"y": FLOAT},
            {"w": FLOAT},
            {"y": FLOAT, "w": FLOAT},
            "stage join, merge zip: several branches must put out a tensor that the stage takes under one"
            " name, and none is; it takes y, w, and they put out fast: y; slow: w",
        ),
        (
            Concat(),
            {"y": FLOAT},
            {"y": TensorSpec((2, 2), "float32")},
            {"y": FLOAT},
            "stage join, merge concat: branch fast puts out 'y' as float32 of shape (3,), branch slow as"
            " float32 of shape (2, 2); only the first size may differ",
        ),
        (
            Concat(default={"slow": 0.5}),
            {"y": ITEMS},
            {"y": ITEMS},
            {"y": ITEMS},
            "stage join, merge concat: branch slow puts out 'y' as int64, and merge.default fills it with"
            " 0.5; give a whole number",
        ),
        (
            FunctionMerge(function="tests.executor_models:nothing"),
            {"y": FLOAT},
            {"y": FLOAT},
            {"y": FLOAT},
            "stage join, merge function: merge function 'tests.executor_models:nothing': module"
            " 'tests.executor_models' has no function 'nothing'",
        ),
        (
            FunctionMerge(function="tests.executor_models:unfit"),
            {"y": FLOAT},
            {"y": FLOAT},
            {"y": FLOAT},
            "stage join, merge function: merge function 'tests.executor_models:unfit' returned 'y' of shape"
            " (1, 3) for 2 requests; return a row for each",
        ),
    ],
)
def test_branches_that_do_not_fit_the_merge_are_told(
    merge: Merge,
    one: Mapping[str, TensorSpec],
    other: Mapping[str, TensorSpec],
    takes: Mapping[str, TensorSpec],
    text: str,
) -> None:
    models = [branch(**one), branch(**other), ModelSpecs(takes, {"z": FLOAT})]
    with pytest.raises(WiringError) as caught:
        wire(joined(merge), models, {"x": FLOAT})
    assert str(caught.value) == text


def test_a_merge_takes_what_its_branches_see_of_stages_before() -> None:
    """Both branches score the candidates of the stage before them; one scores anew."""
    stages = [
        Stage("recall", Immediate(), lambda n: n),
        Stage("one", Immediate(), lambda n: n, parents=("recall",)),
        Stage("two", Immediate(), lambda n: n, parents=("recall",)),
        Stage("join", Immediate(), lambda n: n, parents=("one", "two"), merge=TopK(keep=4)),
    ]
    scores = ModelSpecs({"candidates": ITEMS}, {"scores": SCORES})
    models = [branch(**LIST), scores, scores, ModelSpecs(LIST, {"z": FLOAT})]
    wiring = wire(Pipeline(tuple(stages)), models, {"x": FLOAT})
    assert wiring.inputs[3] == {
        "merge:one:candidates": (0, "candidates"),
        "merge:one:scores": (1, "scores"),
        "merge:two:candidates": (0, "candidates"),
        "merge:two:scores": (2, "scores"),
    }
    shared: NDArray[Any] = np.arange(4)[None]
    merged = loaded(stages[3].merge or TopK()).merged(
        {
            "one": {"candidates": shared, "scores": np.array([[1, 2, 3, 4.0]])},
            "two": {"candidates": shared, "scores": np.array([[9, 0, 0, 0.0]])},
        },
        {"one": np.array([True]), "two": np.array([True])},
    )
    assert merged["candidates"].tolist() == [[0, 3, 2, 1]]
    assert merged["scores"].tolist() == [[9, 4, 3, 2]]
