"""Ranked lists: fusion against the formula, order among equals, rows that do not see each other."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.ranked_lists import NO_ITEM, NO_SCORE, Ids, best, fused, without_repeats

ITEMS = st.integers(-1, 12)


@st.composite
def some_lists(draw: st.DrawFn) -> list[Ids]:
    """One to four lists of the same requests, with repeats and empty places."""
    rows = draw(st.integers(1, 4))
    widths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=4))
    return [
        np.array([[draw(ITEMS) for _ in range(width)] for _ in range(rows)], np.int64).reshape(
            rows, width
        )
        for width in widths
    ]


def by_hand(lists: list[list[int]], weights: list[float], constant: float) -> dict[int, float]:
    """Cormack, Clarke and Buettcher's formula, item by item."""
    scores: dict[int, float] = {}
    for weight, ranked in zip(weights, lists, strict=True):
        seen = set()
        for rank, item in enumerate(ranked, 1):
            if item >= 0 and item not in seen:
                seen.add(item)
                scores[item] = scores.get(item, 0.0) + weight / (constant + rank)
    return scores


@given(some_lists(), st.data())
def test_fusion_is_the_formula_of_the_paper(lists: list[Ids], data: st.DataObject) -> None:
    weights = [data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])) for _ in lists]
    ids, scores = fused(lists, weights, 60, 8)
    for row in range(len(ids)):
        wanted = by_hand([each[row].tolist() for each in lists], weights, 60)
        got = {i: s for i, s in zip(ids[row], scores[row], strict=True) if i != NO_ITEM}
        assert len(got) == min(len(wanted), 8) == np.count_nonzero(ids[row] != NO_ITEM)
        assert got == pytest.approx({item: wanted[item] for item in got}, rel=1e-6)
        left = [score for item, score in wanted.items() if item not in got]
        assert not left or max(left) <= min(got.values()) * (1 + 1e-6)
        assert (ids[row, len(got) :] == NO_ITEM).all()
        assert (scores[row, len(got) :] == NO_SCORE).all()
        assert all(
            before[1] > after[1] or (before[1] == after[1] and before[0] < after[0])
            for before, after in itertools.pairwise(got.items())
        )


@given(some_lists(), st.randoms(use_true_random=False))
def test_fusion_sees_neither_other_rows_nor_the_order_of_the_lists(
    lists: list[Ids], random: object
) -> None:
    weights = [1.0 + k for k in range(len(lists))]
    ids, scores = fused(lists, weights, 10, 6)
    for row in range(len(ids)):
        alone = fused([each[row : row + 1] for each in lists], weights, 10, 6)
        assert (alone[0] == ids[row]).all()
        assert (alone[1] == scores[row]).all()
    for order in itertools.permutations(range(len(lists))):
        turned = fused([lists[k] for k in order], [weights[k] for k in order], 10, 6)
        assert (turned[0] == ids).all()
        assert (turned[1] == scores).all()


def test_a_list_of_nothing_counts_for_nothing() -> None:
    one, none = np.array([[4, 2], [7, 7]]), np.full((2, 3), NO_ITEM)
    with_none, alone = fused([one, none], [1, 1], 60, 3), fused([one], [1], 60, 3)
    assert (with_none[0] == alone[0]).all()
    assert (with_none[1] == alone[1]).all()
    assert with_none[0].tolist() == [[4, 2, NO_ITEM], [7, NO_ITEM, NO_ITEM]]
    empty = fused([none], [1], 60, 2)
    assert empty[0].tolist() == [[NO_ITEM] * 2] * 2
    assert (empty[1] == NO_SCORE).all()


def test_the_best_are_by_score_then_item_and_what_has_no_number_is_none() -> None:
    ids = np.array([[9, 3, NO_ITEM, 5, 4]])
    ranked, scores = best(ids, np.array([[1.0, 2.0, 99.0, np.nan, 1.0]]), 5)
    assert ranked.tolist() == [[3, 4, 9, NO_ITEM, NO_ITEM]]
    np.testing.assert_array_equal(scores, np.array([[2, 1, 1, NO_SCORE, NO_SCORE]], np.float32))
    assert best(ids[:0], np.empty((0, 5)), 2)[0].shape == (0, 2)


def test_repeats_stand_at_their_first_place() -> None:
    assert without_repeats(np.array([[3, 1, 3, -5, 1]])).tolist() == [[3, 1, -1, -1, -1]]


@pytest.mark.parametrize(
    ("lists", "weights", "constant", "keep", "said"),
    [
        ([np.zeros((2, 2), np.int64)], [1, 1], 60, 1, "a weight for each of the 1 lists, not 2"),
        ([np.zeros((2, 2), np.int64)], [-1], 60, 1, "0 or more, not [-1] and 60"),
        ([np.zeros((2, 2), np.int64)], [1], float("nan"), 1, "0 or more, not [1] and nan"),
        ([np.zeros((2, 2), np.int64)], [1], 60, 0, "keep must be 1 or more, not 0"),
        ([], [], 60, 1, "at least one list"),
        (
            [np.zeros((2, 2), np.int64), np.zeros((3, 2), np.int64)],
            [1, 1],
            60,
            1,
            "they are (2, 2), (3, 2)",
        ),
    ],
)
def test_what_cannot_be_fused_is_told(
    lists: list[Ids], weights: list[float], constant: float, keep: int, said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        fused(lists, weights, constant, keep)
