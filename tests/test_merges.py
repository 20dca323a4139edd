"""How results are merged: each kind against its definition, and what must hold for all of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import sim.kinds  # noqa: F401
from configs.dump import plain_config
from configs.json_schema import json_schema
from configs.load import parse_config
from configs.yaml_text import dump_yaml, parse_yaml
from policies.joining import Joining
from policies.merge import Branches, Merge, MergeError, Present
from policies.merge_concat import Concat
from policies.merge_function import FunctionMerge
from policies.merge_lists import ListMerge
from policies.merge_logit_mean import LogitMean
from policies.merge_mean import Mean
from policies.merge_mmr import Mmr
from policies.merge_rrf import Rrf
from policies.merge_side_by_side import SideBySide
from policies.merge_top_k import TopK
from policies.merge_weighted import Weighted
from policies.merge_zip import Zip
from policies.ranked_lists import NO_ITEM, NO_SCORE
from policies.tensors import TensorSpec

SCHEMA = json_schema()
Arrays = Mapping[str, NDArray[Any]]

LISTS: list[Merge] = [
    TopK(),
    TopK(keep=3),
    Weighted(weights={"a": 2.0}),
    Weighted(scale="none", keep=5),
    Rrf(weights={"b": 0.5}),
    Rrf(constant=0.0, keep=9),
    Mmr(),
    Mmr(trade=0.0, keep=6),
]
VALUES: list[Merge] = [
    Zip(),
    Concat(),
    Mean(),
    Mean(weights={"a": 3.0, "c": 0.5}),
    Mean(default={"b": 0.25}),
    LogitMean(),
]


def named(merge: Merge) -> str:
    return merge.kind


def everyone(rows: int, *branches: str) -> Present:
    return {branch: np.ones(rows, np.bool_) for branch in branches}


def of(y: Any) -> Arrays:
    return {"y": np.asarray(y)}


def listed(ids: Any, scores: Any = None) -> dict[str, NDArray[Any]]:
    found = {"candidates": np.asarray(ids, np.int64)}
    if scores is not None:
        found["scores"] = np.asarray(scores, np.float32)
    return found


@st.composite
def branches(draw: st.DrawFn) -> tuple[Branches, Present]:
    """Lists, their scores and vectors, and values, of three branches; one at least is there in each row."""
    rows = draw(st.integers(1, 3))
    found: dict[str, dict[str, NDArray[Any]]] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    width = draw(st.integers(1, 4))
    for branch in "abc":
        count = draw(st.integers(0, 4))
        ids = st.lists(st.integers(-1, 9), min_size=count, max_size=count)
        number = st.sampled_from([0.0, 1.0, 0.5, 0.25, -3.0, 7.0, np.inf, -np.inf, np.nan])
        scores = st.lists(number, min_size=count, max_size=count)
        candidates = np.array(draw(st.lists(ids, min_size=rows, max_size=rows)), np.int64)
        seed = draw(st.integers(0, 2**16))
        rng = np.random.default_rng(seed)
        found[branch] = {
            "candidates": candidates.reshape(rows, count),
            "scores": np.array(
                draw(st.lists(scores, min_size=rows, max_size=rows)), np.float32
            ).reshape(rows, count),
            "vectors": rng.integers(-2, 3, (rows, count, 3)).astype(np.float32),
            "y": rng.random((rows, width)).astype(np.float32),
        }
        present[branch] = np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    present["a"] |= ~(present["b"] | present["c"])
    return found, present


def taken(merge: Merge, found: Branches) -> Branches:
    """The branches' tensors that a merge takes at a join."""
    specs = {
        branch: {name: TensorSpec(x.shape[1:], x.dtype.name) for name, x in arrays.items()}
        for branch, arrays in found.items()
    }
    wanted = ["candidates", "scores"] if merge in LISTS else ["y"]
    fitted = merge.fit(specs, wanted)
    return {b: {name: found[b][name] for name in names} for b, names in fitted.takes.items()}


def fits(merge: Merge, found: Branches) -> bool:
    return (
        not isinstance(merge, ListMerge)
        or max(x["candidates"].shape[1] for x in found.values()) > 0
    )


def test_zip_takes_the_first_of_every_branch_then_the_second() -> None:
    merged = Zip().merged(
        {"a": of([[1, 2, 3]]), "b": of([[4, 5, 6]]), "c": of([[7, 8, 9]])}, everyone(1, *"abc")
    )
    assert merged["y"].tolist() == [[[1, 4, 7], [2, 5, 8], [3, 6, 9]]]
    single = Zip().merged({"a": of([1, 2]), "b": of([3, 4])}, everyone(2, *"ab"))
    assert single["y"].tolist() == [[1, 3], [2, 4]]


def test_concat_puts_one_after_the_other() -> None:
    merged = Concat().merged({"a": of([[1, 2]]), "b": of([[3]])}, everyone(1, *"ab"))
    assert merged["y"].tolist() == [[1, 2, 3]]
    single = Concat().merged({"a": of([1, 2]), "b": of([3, 4])}, everyone(2, *"ab"))
    assert single["y"].tolist() == [[1, 3], [2, 4]]


def test_means_are_of_the_branches_that_are_there() -> None:
    found = {"a": of([[0.5], [0.2]]), "b": of([[0.1], [np.nan]])}
    present = {"a": np.array([True, True]), "b": np.array([True, False])}
    assert Mean().merged(found, present)["y"][:, 0].tolist() == pytest.approx([0.3, 0.2])
    weighed = Mean(weights={"a": 3.0}).merged(found, present)["y"]
    assert weighed[:, 0].tolist() == pytest.approx([0.4, 0.2])
    filled = Mean(default={"b": 0.6}).merged(found, present)["y"]
    assert filled[:, 0].tolist() == pytest.approx([0.3, 0.4])
    odds = LogitMean().merged(found, present)["y"][:, 0]
    # The odds are the geometric mean of 1 and 1/9.
    assert odds.tolist() == pytest.approx([0.25, 0.2])


def test_certainty_and_what_is_no_probability() -> None:
    found = {"a": of([[0.0, 0.5, 1.0]]), "b": of([[1.0, 1.5, 1.0]])}
    odds = LogitMean().merged(found, everyone(1, *"ab"))["y"][0]
    assert odds[0] == pytest.approx(0.5)
    assert np.isnan(odds[1])
    assert odds[2] == pytest.approx(1.0)


def test_the_best_by_score_count_an_item_once() -> None:
    found = {
        "a": listed([[1, 2, 3]], [[0.9, 0.5, 0.1]]),
        "b": listed([[2, 7, -1]], [[0.8, 0.5, 99]]),
    }
    merged = TopK(keep=5).merged(found, everyone(1, *"ab"))
    assert merged["candidates"].tolist() == [[1, 2, 7, 3, NO_ITEM]]
    assert merged["scores"][0].tolist() == pytest.approx([0.9, 0.8, 0.5, 0.1, NO_SCORE])


def test_a_weighted_sum_brings_scores_of_different_scales_together() -> None:
    found = {
        "a": listed([[1, 2, 3]], [[100.0, 50.0, 0.0]]),
        "b": listed([[3, 4]], [[0.2, 0.1]]),
    }
    merged = Weighted(weights={"b": 2.0}, keep=4).merged(found, everyone(1, *"ab"))
    assert merged["candidates"].tolist() == [[3, 1, 2, 4]]
    assert merged["scores"].tolist() == [[2.0, 1.0, 0.5, 0.0]]
    raw = Weighted(scale="none", keep=4).merged(found, everyone(1, *"ab"))
    assert raw["candidates"].tolist() == [[1, 2, 3, 4]]
    alike = Weighted().merged({"a": listed([[8, 5]], [[3.0, 3.0]])}, everyone(1, "a"))
    assert (alike["candidates"].tolist(), alike["scores"].tolist()) == ([[5, 8]], [[1.0, 1.0]])


def test_a_list_may_stand_in_for_one_that_is_missing() -> None:
    found = {"a": listed([[1, 2], [1, 2]]), "b": listed([[3, 4], [3, 4]])}
    present = {"a": np.array([True, True]), "b": np.array([True, False])}
    merged = Rrf(stand_in={"b": (9, 2)}, keep=4).merged(found, present)
    assert merged["candidates"].tolist() == [[1, 3, 2, 4], [2, 1, 9, NO_ITEM]]
    without = Rrf(keep=4).merged(found, present)
    assert without["candidates"].tolist() == [[1, 3, 2, 4], [1, 2, NO_ITEM, NO_ITEM]]


def test_mmr_prefers_what_is_unlike_what_is_picked() -> None:
    alike, apart = [1.0, 0.0], [0.0, 1.0]
    found = {
        "a": {**listed([[1, 2]], [[1.0, 0.9]]), "vectors": np.array([[alike, alike]])},
        "b": {**listed([[3, 1]], [[0.5, 0.2]]), "vectors": np.array([[apart, alike]])},
    }
    merged = Mmr(trade=0.5, keep=3).merged(found, everyone(1, *"ab"))
    assert merged["candidates"].tolist() == [[1, 3, 2]]
    assert merged["scores"][0].tolist() == pytest.approx([1.0, 0.5, 0.9])
    by_score = Mmr(trade=1.0, keep=3).merged(found, everyone(1, *"ab"))
    assert by_score["candidates"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("merge", LISTS, ids=named)
def test_of_nothing_comes_a_list_of_nothing(merge: Merge) -> None:
    rows = {
        "candidates": np.full((2, 3), NO_ITEM),
        "scores": np.zeros((2, 3), np.float32),
        "vectors": np.zeros((2, 3, 2), np.float32),
    }
    merged = merge.merged({"a": rows, "b": rows}, everyone(2, *"ab"))
    assert (merged["candidates"] == NO_ITEM).all()
    assert (merged["scores"] == NO_SCORE).all()


@pytest.mark.parametrize("merge", [*LISTS, *VALUES], ids=named)
@settings(max_examples=40, deadline=None)
@given(drawn=branches())
def test_a_row_depends_on_the_same_row_alone(merge: Merge, drawn: tuple[Branches, Present]) -> None:
    found, present = drawn
    if not fits(merge, found):
        return
    chosen = (
        {"a": found["a"], "b": found["a"], "c": found["a"]} if isinstance(merge, Zip) else found
    )
    whole = merge.merged(taken(merge, chosen), present)
    for row in range(len(present["a"])):
        alone = merge.merged(
            {
                branch: {name: x[row : row + 1] for name, x in arrays.items()}
                for branch, arrays in taken(merge, chosen).items()
            },
            {branch: there[row : row + 1] for branch, there in present.items()},
        )
        for name, array in whole.items():
            np.testing.assert_array_equal(alone[name][0], array[row])


@pytest.mark.parametrize("merge", [*LISTS, *VALUES[2:]], ids=named)
@settings(max_examples=40, deadline=None)
@given(drawn=branches())
def test_the_order_of_branches_does_not_matter(
    merge: Merge, drawn: tuple[Branches, Present]
) -> None:
    found, present = drawn
    if not fits(merge, found):
        return
    if isinstance(merge, Mmr):
        # Its vectors are the item's, so an item has one, whichever branch it comes from.
        found = {
            branch: {**x, "vectors": np.eye(11, dtype=np.float32)[x["candidates"]]}
            for branch, x in found.items()
        }
    first: Arrays | None = None
    for order in itertools.permutations("abc"):
        merged = merge.merged(
            taken(merge, {branch: found[branch] for branch in order}),
            {branch: present[branch] for branch in order},
        )
        first = first or merged
        for name, array in merged.items():
            np.testing.assert_array_equal(array, first[name])


@pytest.mark.parametrize(
    "merge", [*LISTS, Mean(), Mean(weights={"a": 3.0}), LogitMean()], ids=named
)
@settings(max_examples=40, deadline=None)
@given(drawn=branches())
def test_what_is_missing_is_left_out(merge: Merge, drawn: tuple[Branches, Present]) -> None:
    found, present = drawn
    if not fits(merge, found):
        return
    given = taken(merge, found)
    whole = merge.merged(given, present)
    for row in range(len(present["a"])):
        came = {
            branch: {name: x[row : row + 1] for name, x in arrays.items()}
            for branch, arrays in given.items()
            if present[branch][row]
        }
        if not fits(merge, came):
            continue
        alone = merge.merged(came, everyone(1, *came))
        for name, array in whole.items():
            kept = min(array.shape[1], alone[name].shape[1])
            np.testing.assert_array_equal(alone[name][0, :kept], array[row, :kept])


@pytest.mark.parametrize("merge", LISTS, ids=named)
@settings(max_examples=40, deadline=None)
@given(drawn=branches())
def test_lists_hold_items_of_theirs_once_and_no_score_that_is_no_number(
    merge: Merge, drawn: tuple[Branches, Present]
) -> None:
    found, present = drawn
    if not fits(merge, found):
        return
    merged = merge.merged(taken(merge, found), present)
    for row, (ids, scores) in enumerate(zip(merged["candidates"], merged["scores"], strict=True)):
        items = ids[ids != NO_ITEM]
        assert len(set(items.tolist())) == len(items)
        assert not np.isnan(scores).any()
        assert (ids[len(items) :] == NO_ITEM).all()
        allowed = set()
        for branch, there in present.items():
            keep = np.ones(found[branch]["candidates"].shape[1], np.bool_)
            if not isinstance(merge, Rrf):
                keep = ~np.isnan(found[branch]["scores"][row])
            if there[row]:
                allowed |= set(found[branch]["candidates"][row][keep].tolist())
        assert set(items.tolist()) <= allowed
        if not (isinstance(merge, Weighted) and merge.scale == "none"):
            # There, a score of minus infinity and one of infinity sum to what is not a number.
            assert len(items) == min(len(allowed - {NO_ITEM}), len(ids))


def test_a_merge_at_a_join_of_other_branches_is_told() -> None:
    for merge, said in (
        (Rrf(weights={"c": 1.0}), "weights names 'c', which is none of the stages before: a, b"),
        (Rrf(stand_in={"c": (1,)}), "stand_in names 'c', which is none"),
        (Mean(weights={"c": 1.0}), "weights names 'c', which is none"),
        (Weighted(weights={"c": 1.0}), "weights names 'c', which is none"),
        (SideBySide(default={"c": 1.0}), "default names 'c', which is none"),
        (Zip(quorum=3), "quorum must be at most the 2 stages before, not 3"),
    ):
        with pytest.raises(ValueError, match=said):
            merge.check(("a", "b"))
    with pytest.raises(ValueError, match="needs several stages to merge, and there is 1"):
        Zip().check(("a",))


def test_a_function_that_was_not_imported_says_so() -> None:
    merge = FunctionMerge(function="pack:age")
    with pytest.raises(MergeError, match="'pack:age' has not been imported"):
        merge.merged({}, {})
    with pytest.raises(MergeError, match="'pack:age' has not been imported"):
        merge.fit({}, [])


@pytest.mark.parametrize(
    "merge",
    [
        *LISTS,
        *VALUES[:3],
        Mean(quorum=1, default={"a": -1.5}),
        Rrf(deadline_ns=20_000_000, stand_in={"b": (7, 3)}),
        Mmr(trade=0.25, vectors="embeddings", scores="logits"),
        FunctionMerge(function="pack:age", arguments={"share": 0.5}),
    ],
    ids=named,
)
def test_a_merge_is_written_as_it_is_read(merge: Merge) -> None:
    joined = parse_config(
        {
            "name": "joined",
            "workload": {"arrivals": "1/s", "requests": 1},
            "stages": [
                {"name": "a", "after": []},
                {"name": "b", "after": []},
                {"name": "rank", "after": ["a", "b"]},
            ],
        }
    )
    stages = (*joined.stages[:2], replace(joined.stages[2], merge=merge))
    written = plain_config(replace(joined, stages=stages))
    jsonschema.validate(written, SCHEMA)
    again = parse_config(parse_yaml(dump_yaml(written), "again"))
    assert again.stage("rank").merge == merge
    assert len({again.stage("rank").merge, merge}) == 1, (
        "plans of policies are cached by the pipeline"
    )


def test_a_branch_that_is_done_at_the_instant_at_which_the_join_goes_on_is_in_time() -> None:
    joining = Joining(3, SideBySide(quorum=1), [0, 0])
    assert joining.came(5, 0, [0]) == [0]
    assert joining.came(5, 2, [0]) == []
    assert joining.gone == {0: 0b101}
    assert joining.came(6, 1, [0, 1]) == [1]
    assert joining.came(7, 0, [1]) == []
    assert joining.gone == {0: 0b101, 1: 0b010}
