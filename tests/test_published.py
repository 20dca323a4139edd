"""Published tables: the distribution that a mean and percentiles make, sizes between and beyond, files."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from scipy import stats

import delayline
from configs.errors import ConfigError
from configs.labels import LabelError, chosen, parse_labels, show_labels
from configs.published import (
    BatchTimes,
    Published,
    PublishedGroup,
    load_published,
    save_published,
)
from sim.service.published import PublishedTimes
from sim.service.scores import PER_SCORE, REACH, mean_of, times_by_score

US, MS = 1_000, 1_000_000
PRINTED = {
    256: BatchTimes(
        mean_ns=1_315 * US,
        p50_ns=1_308 * US,
        p90_ns=1_346 * US,
        p95_ns=1_360 * US,
        p99_ns=1_428 * US,
    ),
    4096: BatchTimes(
        mean_ns=7_547 * US,
        p50_ns=7_142 * US,
        p90_ns=9_926 * US,
        p95_ns=10_563 * US,
        p99_ns=11_887 * US,
    ),
    16384: BatchTimes(
        mean_ns=14_397 * US,
        p50_ns=13_512 * US,
        p90_ns=18_506 * US,
        p95_ns=19_884 * US,
        p99_ns=23_454 * US,
    ),
}


def score(percentile: float) -> float:
    return NormalDist().inv_cdf(percentile / 100)


def time_at(times: np.ndarray, at: float) -> float:
    scores = np.arange(-REACH * PER_SCORE, REACH * PER_SCORE + 1) / PER_SCORE
    return float(np.interp(at, scores, times))


# The distribution of one size


@pytest.mark.parametrize("p99", [1.05, 1.5, 3.0])
def test_one_percentile_makes_the_lognormal_of_that_mean_and_percentile(p99: float) -> None:
    found = times_by_score(1.0, {99: p99})
    z = score(99)
    sigma = z - np.sqrt(z**2 - 2 * np.log(p99))
    exact = stats.lognorm(s=sigma, scale=np.exp(-(sigma**2) / 2))
    assert exact.mean() == pytest.approx(1)
    for percentile in (1, 25, 50, 90, 99, 99.9):
        assert time_at(found, score(percentile)) == pytest.approx(
            exact.ppf(percentile / 100), rel=5e-4
        )


@st.composite
def printed_sizes(draw: st.DrawFn) -> tuple[float, dict[int, float]]:
    """A mean of about the first percentile, and percentiles that rise from there."""
    ranks = sorted(draw(st.sets(st.sampled_from([50, 90, 95, 99]), min_size=1)))
    steps = draw(st.lists(st.floats(1, 2), min_size=len(ranks), max_size=len(ranks)))
    values = np.cumprod([1e6, *steps[1:]]).tolist()
    return 1e6 * draw(st.floats(0.4, 1.5)), dict(zip(ranks, values, strict=True))


@given(printed_sizes())
def test_mean_and_percentiles_are_those_printed_or_the_table_is_refused(
    printed: tuple[float, dict[int, float]],
) -> None:
    mean, percentiles = printed
    try:
        found = times_by_score(mean, percentiles)
    except ValueError as error:
        assert str(error).startswith("the mean, ")  # noqa: PT017
        event("refused")
        return
    event("taken")
    assert (np.diff(found) >= 0).all()
    assert mean_of(found) == pytest.approx(mean, rel=1e-9)
    for percentile, ns in percentiles.items():
        assert time_at(found, score(percentile)) == pytest.approx(ns, rel=0.05)


def test_the_mean_is_the_integral_over_all_batches() -> None:
    found = times_by_score(1.0, {50: 0.9, 99: 2.0})
    drawn = np.random.default_rng(1).standard_normal(400_000)
    scores = np.arange(-REACH * PER_SCORE, REACH * PER_SCORE + 1) / PER_SCORE
    assert np.interp(drawn, scores, found).mean() == pytest.approx(1, abs=0.002)


def test_outliers_beyond_the_last_percentile_carry_a_mean_that_is_above_the_rest() -> None:
    # Printed so of a real server: the mean is above the 90th percentile.
    found = times_by_score(23.898, {50: 23.233, 90: 23.738, 95: 24.043, 99: 24.865})
    assert time_at(found, score(10)) == pytest.approx(23.233, rel=1e-3)
    assert time_at(found, score(99)) == pytest.approx(24.865, rel=2e-3)
    assert time_at(found, score(99.99)) > 3 * 24.865


@pytest.mark.parametrize(
    ("mean", "percentiles", "says"),
    [
        (
            1e6,
            {99: 20e6},
            "the mean, 1ms, is too far below the percentiles, which allow at least 1.3",
        ),
        (1e6, {50: 3e6, 99: 4e6}, "too far below the percentiles, which allow at least 2.0"),
        (3e6, {50: 1e6, 99: 3e6}, "too far above the percentiles, which allow at most 1.4"),
    ],
)
def test_a_mean_that_no_distribution_has_is_refused(
    mean: float, percentiles: dict[int, float], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        times_by_score(mean, percentiles)


def test_without_percentiles_there_is_no_spread() -> None:
    assert set(times_by_score(5.0, {}).tolist()) == {5.0}
    assert times_by_score(5.0, {99: 5.0}) == pytest.approx(5.0)


# Sizes


def test_at_a_printed_size_times_are_those_printed() -> None:
    model = PublishedTimes(points=PRINTED, per="item")
    for size, printed in PRINTED.items():
        assert model.expected_ns(1, size) == printed.mean_ns
        for percentile, ns in printed.percentiles.items():
            assert model.time_ns(score(percentile), 1, size) == pytest.approx(ns, rel=2e-3)


def test_between_sizes_mean_and_quantiles_are_linear_and_below_they_are_flat() -> None:
    model = PublishedTimes(points=PRINTED, per="item")
    low, high = PRINTED[4096], PRINTED[16384]
    middle = (4096 + 16384) // 2
    assert model.expected_ns(1, middle) == (low.mean_ns + high.mean_ns) / 2
    for at in (-2.0, 0.0, 1.7, 3.0):
        ends = (model.time_ns(at, 1, 4096) + model.time_ns(at, 1, 16384)) / 2
        assert model.time_ns(at, 1, middle) == pytest.approx(ends, abs=1)
        assert model.time_ns(at, 1, 1) == model.time_ns(at, 1, 256)
    assert model.expected_ns(1, 1) == PRINTED[256].mean_ns


def test_beyond_the_largest_size_the_mean_goes_on_and_the_spread_stays() -> None:
    model = PublishedTimes(points=PRINTED, per="item")
    slope = (PRINTED[16384].mean_ns - PRINTED[4096].mean_ns) / (16384 - 4096)
    far = 65536
    mean = PRINTED[16384].mean_ns + slope * (far - 16384)
    assert model.expected_ns(1, far) == pytest.approx(mean)
    for at in (-2.0, 0.0, 3.0):
        ratio = model.time_ns(at, 1, far) / model.time_ns(at, 1, 16384)
        assert ratio == pytest.approx(mean / PRINTED[16384].mean_ns)
    falling = PublishedTimes(points={1: BatchTimes(mean_ns=100), 8: BatchTimes(mean_ns=50)})
    assert falling.expected_ns(8, 8) == falling.expected_ns(1_000, 1_000) == 50
    alone = PublishedTimes(points={4: BatchTimes(mean_ns=70)})
    assert {alone.expected_ns(size, size) for size in (1, 4, 400)} == {70}


def test_sizes_count_requests_or_items() -> None:
    by_request = PublishedTimes(points=PRINTED)
    by_item = PublishedTimes(points=PRINTED, per="item")
    assert by_request.expected_ns(4096, 9) == by_item.expected_ns(9, 4096) == 7_547 * US
    assert by_request.time_ns(1.0, 4096, 9) == by_item.time_ns(1.0, 9, 4096)


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (
            {"p50_ns": 90, "p99_ns": 80},
            r"p99 \(80ns\) is below p50 \(90ns\); are the columns mapped",
        ),
        ({"p90_ns": 90, "p99_ns": 99}, r"p99 \(99ns\) is below the mean \(100ns\)"),
        ({"p50_ns": 100}, "p50 alone tells no spread; give p90, p95 or p99 beside it"),
    ],
)
def test_percentiles_that_contradict_each_other_are_refused(
    times: dict[str, int], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        BatchTimes(mean_ns=100, **times)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({}, "give `points` or `path`"),
        ({"points": PRINTED, "path": Path("t.yaml")}, "give `points` or `path`"),
        ({"points": PRINTED, "group": "gpu=A30"}, "`group` chooses from a file"),
        ({"path": Path("t.yaml"), "per": "item"}, "`per` belongs to `points`"),
        (
            {"points": {8: BatchTimes(mean_ns=5, p99_ns=900)}},
            "batch size 8: the mean, 5ns, is too",
        ),
        ({"points": {0: BatchTimes(mean_ns=5)}}, "batch sizes from 1 on, not 0"),
    ],
)
def test_knobs_that_contradict_each_other_are_named(knobs: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PublishedTimes(**knobs)  # type: ignore[arg-type]


# Labels


CARDS = [
    {"gpu": gpu, "precision": p}
    for gpu in ("A30", "A300", "DGX (1x A30)")
    for p in ("FP16", "FP32")
]


def pick(text: str) -> list[dict[str, str]]:
    return chosen(CARDS, lambda card: card, parse_labels(text))


def test_an_equal_value_goes_before_those_that_hold_it() -> None:
    assert pick("gpu=a30, precision=fp16") == [{"gpu": "A30", "precision": "FP16"}]
    assert [card["gpu"] for card in pick("precision=fp32,gpu=A3")] == [
        "A30",
        "A300",
        "DGX (1x A30)",
    ]
    assert pick("gpu=dgx,precision=16") == [{"gpu": "DGX (1x A30)", "precision": "FP16"}]


def test_values_may_have_commas() -> None:
    assert parse_labels("section=Offline: A30, FP16, gpu=A30") == {
        "section": "Offline: A30, FP16",
        "gpu": "A30",
    }
    assert parse_labels(show_labels(CARDS[4])) == CARDS[4]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gpu", "must be NAME=VALUE, as in gpu=A30,precision=FP16, not 'gpu'"),
        ("=A30", "must be NAME=VALUE"),
        ("gpu=A30,gpu=A300", "gpu stands twice"),
        ("gpus=A30", "there is no 'gpus'; did you mean `gpu`?"),
        (
            "precision=fp16,gpu=T4",
            "no gpu of precision=fp16 is or holds 'T4'; there is A30, A300, DGX",
        ),
    ],
)
def test_a_choice_that_cannot_be_made_says_what_there_is(text: str, says: str) -> None:
    with pytest.raises(LabelError) as caught:
        pick(text)
    assert says in str(caught.value)


# Files

TABLE = Published(
    format="delayline-published/1",
    source="table.csv",
    columns={"batch": "batch", "mean": "avg_ms"},
    notes=("Apache-2.0",),
    per="item",
    groups=(
        PublishedGroup(labels={"gpu": "A30", "precision": "FP16"}, points=PRINTED),
        PublishedGroup(
            labels={"gpu": "A30", "precision": "FP32"}, points={1: BatchTimes(mean_ns=MS)}
        ),
    ),
)
HAND_WRITTEN = """\
format: delayline-published/1
per: request
groups:
  - points:
      1: {mean: 1ms, p99: 1.2ms}
      8: {mean: 2.1ms, p99: 2.5ms}
"""


def test_a_file_reads_back_as_it_was_and_has_a_line_for_each_size(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    save_published(path, TABLE)
    assert load_published(path) == TABLE
    assert "  256: {mean: 1.315ms, p50: 1.308ms, p90: 1.346ms, p95: 1.36ms, p99: 1.428ms}\n" in (
        path.read_text(encoding="utf-8")
    )


def test_a_file_serves_as_its_points_do(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    save_published(path, TABLE)
    model = PublishedTimes(path=path, group="precision=fp16")
    inline = PublishedTimes(points=PRINTED, per="item")
    for size in (100, 256, 3000, 50_000):
        assert model.expected_ns(1, size) == inline.expected_ns(1, size)
        assert model.time_ns(1.3, 1, size) == inline.time_ns(1.3, 1, size)


def test_a_file_written_by_hand_simulates(tmp_path: Path) -> None:
    (tmp_path / "table.yaml").write_text(HAND_WRITTEN, encoding="utf-8")
    (tmp_path / "p.yaml").write_text(
        "workload: {arrivals: 500/s, requests: 4000}\n"
        "stages: [{name: rank, max_batch: 1, service: {kind: published, path: table.yaml}}]\n",
        encoding="utf-8",
    )
    log = delayline.simulate(delayline.load_config(tmp_path / "p.yaml"))
    batches = log.stages[0].batches
    taken = np.asarray(batches.finished_ns - batches.started_ns)
    assert taken.mean() == pytest.approx(MS, rel=0.01)
    assert np.quantile(taken, 0.99) == pytest.approx(1_200 * US, rel=0.02)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("published/1", "published/9", ": format: "),
        ("per: request\n", "", ": per: "),
        ("8: {mean: 2.1ms", "8: {mean: 2.1", "groups[0].points[8].mean: needs a unit"),
        ("{mean: 2.1ms, p99: 2.5ms}", "2.1ms", "points[8]: must be a mapping such as {mean: 2ms"),
        ("p99: 1.2ms", "p98: 1.2ms", "groups[0].points[1].p98: unknown key; did you mean `p99`?"),
        ("p99: 1.2ms", "p99: 0.2ms", "groups[0].points[1]: p99 (200us) is below the mean (1ms)"),
        (HAND_WRITTEN, "stages: []\n", ": stages: unknown key"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(HAND_WRITTEN.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        PublishedTimes(path=path).expected_ns(1, 1)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_a_file_that_is_missing_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write one with `delayline import-profile`"):
        PublishedTimes(path=tmp_path / "no.yaml").expected_ns(1, 1)


@pytest.mark.parametrize(
    ("group", "says"),
    [
        (None, "2 groups are in it; say which by `group`: precision=FP16; precision=FP32"),
        ("gpu=A30", "2 groups are gpu=A30; say which"),
        ("gpu=T4", "no gpu is or holds 'T4'; there is A30"),
    ],
)
def test_a_group_that_is_not_told_says_which_there_are(
    tmp_path: Path, group: str | None, says: str
) -> None:
    save_published(tmp_path / "table.yaml", TABLE)
    with pytest.raises(ConfigError) as caught:
        PublishedTimes(path=tmp_path / "table.yaml", group=group).expected_ns(1, 1)
    assert says in str(caught.value)


def test_a_mean_that_does_not_fit_its_percentiles_names_the_size(tmp_path: Path) -> None:
    text = HAND_WRITTEN.replace("p99: 2.5ms", "p99: 250ms")
    (tmp_path / "table.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"table.yaml: batch size 8: the mean, 2.1ms, is too far"):
        PublishedTimes(path=tmp_path / "table.yaml").expected_ns(1, 1)


def test_a_group_is_not_asked_of_a_file_without_labels(tmp_path: Path) -> None:
    (tmp_path / "table.yaml").write_text(HAND_WRITTEN, encoding="utf-8")
    with pytest.raises(ConfigError, match="no labels to choose by; leave `group` out"):
        PublishedTimes(path=tmp_path / "table.yaml", group="gpu=A30").expected_ns(1, 1)


def test_figures_that_do_not_go_together_are_told_when_a_configuration_is_loaded(
    tmp_path: Path,
) -> None:
    (tmp_path / "p.yaml").write_text(
        "stages:\n"
        "  - {name: rank, service: {kind: published, points: {8: {mean: 2ms, p99: 100ms}}}}\n",
        encoding="utf-8",
    )
    with pytest.raises(
        ConfigError, match=r"stages.rank.service: batch size 8: the mean, 2ms, is too"
    ):
        delayline.load_config(tmp_path / "p.yaml")
