"""Request sizes against theory, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from policies.runlog import Int64
from sim.columns import TraceError
from sim.items.base import MAX_ITEMS, Items
from sim.items.choice import Choice
from sim.items.column import Column
from sim.items.constant import Constant
from sim.items.geometric import Geometric
from sim.items.lognormal import Lognormal
from sim.items.uniform import Uniform
from sim.streams import stream

DRAWN: list[Items] = [
    Constant(7),
    Uniform(3, 12),
    Lognormal(100.0, 0.8),
    Lognormal(50.0, 0.0),
    Geometric(20.0),
    Choice((10, 100, 1_000)),
    Choice((10, 100), (3.0, 1.0)),
]
N = 200_000


def draw(items: Items, count: int = N, seed: int = 1) -> Int64:
    return items.draw(stream(seed, 0, "items"), count)


@pytest.mark.parametrize("items", DRAWN, ids=repr)
def test_the_mean_is_the_mean(items: Items) -> None:
    found = draw(items)
    assert found.mean() == pytest.approx(
        items.mean_items(), abs=5 * float(found.std()) / math.sqrt(N) + 1e-9
    )


@given(st.sampled_from([*DRAWN, Lognormal(1.0, 50.0), Geometric(1.0)]), st.integers(0, 2**32))
@settings(deadline=None)
def test_every_size_is_a_whole_number_from_one_on(items: Items, seed: int) -> None:
    found = draw(items, 500, seed)
    assert found.dtype == np.int64
    assert found.shape == (500,)
    assert 1 <= found.min() <= found.max() <= MAX_ITEMS
    np.testing.assert_array_equal(found, draw(items, 500, seed))


def test_geometric_sizes_have_their_variance() -> None:
    # (1 - p) / p^2 with p = 1/20.
    assert draw(Geometric(20.0)).var() == pytest.approx(380, rel=0.03)


def test_lognormal_sizes_have_their_cv_and_shape() -> None:
    found = draw(Lognormal(10_000.0, 0.8))
    assert found.std() / found.mean() == pytest.approx(0.8, rel=0.03)
    assert (
        stats.kstest(
            np.log(found),
            "norm",
            args=(math.log(1e4) - math.log1p(0.64) / 2, math.sqrt(math.log1p(0.64))),
        ).pvalue
        > 0.01
    )


def test_choices_come_by_weight_and_uniform_includes_both_ends() -> None:
    found = draw(Choice((10, 100, 5), (3.0, 1.0, 0.0)))
    assert set(found.tolist()) == {10, 100}
    assert (found == 10).mean() == pytest.approx(0.75, abs=0.005)
    values, seen = np.unique(draw(Uniform(3, 12)), return_counts=True)
    assert values.tolist() == list(range(3, 13))
    assert stats.chisquare(seen).pvalue > 0.01


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Uniform(5, 4), r"`low` must be at most `high` \(4\), not 5"),
        (lambda: Choice(()), "`values` needs one size or more"),
        (lambda: Choice((1, 2), (1.0,)), "one entry for each of the 2 values, not 1"),
        (lambda: Choice((1, 2), (0.0, 0.0)), "`weights` needs one above 0"),
    ],
)
def test_knobs_that_contradict_each_other_are_named(make: Callable[[], Items], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_a_column_gives_row_by_row_and_says_when_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "sizes.csv"
    path.write_text("size\n3\n1\n4\n")
    sizes = Column(path, "size")
    assert draw(sizes, 2).tolist() == [3, 1]
    assert sizes.mean_items() == pytest.approx(8 / 3)
    with pytest.raises(TraceError, match="4 requests need a size each, the file has 3 rows"):
        draw(sizes, 4)


@pytest.mark.parametrize("value", ["0", "-1", "1.5"])
def test_a_column_of_other_numbers_is_refused_with_its_place(tmp_path: Path, value: str) -> None:
    path = tmp_path / "sizes.csv"
    path.write_text(f"size\n3\n{value}\n")
    with pytest.raises(
        TraceError, match=f"line 3, column size: must be a whole number from 1 on, not {value}"
    ):
        draw(Column(path, "size"), 1)
