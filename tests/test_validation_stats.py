"""Comparison, confidence intervals and validation figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reports import validation
from reports.compare import compare
from reports.confidence import by_batch_means, over_replications
from reports.percentiles import percentile
from reports.run import Run
from reports.totals import latencies_ns
from reports.validation import Sample, Scenario, Validation, error_pct
from tests.run_maker import chain, diamond


def scenario(name: str = "half", *, factor: float = 1.1, load: float = 0.5) -> Scenario:
    real = np.arange(1, 1001) * 1_000_000
    return Scenario(
        name=name,
        load=load,
        policy="fixed 2ms",
        real=Sample.of(real),
        predicted=Sample.of((real * factor).astype(np.int64)),
        replayed=Sample.of(real + 1_000_000),
        repeat=Sample.of((real * 0.98).astype(np.int64)),
    )


def test_errors_are_relative_to_the_real_run() -> None:
    assert error_pct(11.0, 10.0) == pytest.approx(10)
    assert error_pct(9.0, 10.0) == pytest.approx(-10)
    assert error_pct(None, 10.0) is None
    assert error_pct(1.0, None) is None
    assert error_pct(1.0, 0.0) is None
    assert scenario().errors_pct("replayed") == {
        "mean": pytest.approx(100 / 500.5),
        "p50": pytest.approx(100 / 500),
        "p95": pytest.approx(100 / 950),
        "p99": pytest.approx(100 / 990),
    }


def test_the_json_object_has_the_promised_shape() -> None:
    found = Validation((scenario(), scenario("busy", factor=0.8, load=0.9))).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == ["scenarios", "summary"]
    scenarios, summary = found["scenarios"], found["summary"]
    assert isinstance(scenarios, list)
    assert isinstance(summary, dict)
    errors = ["predicted_error_pct", "replayed_error_pct", "repeat_error_pct"]
    assert list(scenarios[0]) == ["name", "load", "policy", "real", *errors]
    assert all(list(scenarios[0][key]) == ["mean", "p50", "p95", "p99"] for key in errors)
    assert scenarios[0]["real"]["p99"] == 990
    assert list(summary) == ["predicted", "replayed", "repeat"]
    # Four errors of 10% and four of 20%: the median is the fourth of eight, by nearest rank.
    assert summary["predicted"]["median_abs_pct"] == pytest.approx(10)
    assert summary["predicted"]["p95_abs_pct"] == pytest.approx(20)


def test_a_validation_without_answers_tells_nothing_rather_than_nan() -> None:
    none = Sample.of(np.zeros(0, np.int64))
    empty = Validation((replace(scenario(), real=none),))
    assert empty.summary("predicted").median_abs_pct is None
    json.dumps(empty.to_json(), allow_nan=False)
    assert Validation(()).summary("repeat").p95_abs_pct is None
    assert [len(row) for row in empty.rows()] == [8] * 5


def test_rows_are_a_table() -> None:
    rows = list(Validation((scenario(),)).rows())
    assert rows[0][:4] == ("scenario", "load", "policy", "")
    assert rows[1] == (
        "half",
        "0.50",
        "fixed 2ms",
        "real, ms",
        "500.50",
        "500.00",
        "950.00",
        "990.00",
    )
    assert rows[2] == ("", "", "", "predicted, %", "+10.0", "+10.0", "+10.0", "+10.0")


def test_a_validation_survives_the_disk(tmp_path: Path) -> None:
    kept = Validation((scenario(), scenario("empty")))
    validation.write(tmp_path / "deep" / "validation.json", kept)
    assert validation.read(tmp_path / "deep" / "validation.json") == kept


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "x"}', '{"format": "delayline-validation/1"}']
)
def test_what_is_no_validation_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "v.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"v\.json holds no validation"):
        validation.read(path)


def test_an_interval_over_replications_is_students() -> None:
    found = over_replications([1.0, 2.0, 3.0])
    half = 4.302652729911275 / 3**0.5  # t(0.975, 2 degrees) times s = 1, by table
    assert found.value == pytest.approx(2)
    assert found.low == pytest.approx(2 - half)
    assert found.high == pytest.approx(2 + half)
    assert found.holds(2.5)
    assert not over_replications([2.0]).holds(2.0)
    with pytest.raises(ValueError, match="at least one replication"):
        over_replications([])
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        over_replications([1.0, 2.0], confidence=1.5)


def test_batch_means_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        values = rng.exponential(1e6, 4000).astype(np.int64)
        found = by_batch_means(values, lambda part: float(percentile(part, 90)))
        assert found is not None
        hits += found.holds(1e6 * np.log(10))
    assert 180 <= hits <= 199  # 190 expected


def test_batch_means_widen_with_correlation() -> None:
    rng = np.random.default_rng(2)
    independent = rng.normal(1e6, 1e5, 20_000)
    wave = 1e5 * np.repeat(rng.normal(0, 1, 100), 200)
    narrow = by_batch_means(independent.astype(np.int64), lambda part: float(part.mean()))
    wide = by_batch_means((independent + wave).astype(np.int64), lambda part: float(part.mean()))
    assert narrow is not None
    assert wide is not None
    assert wide.high is not None
    assert narrow.high is not None
    assert wide.high - wide.value > 3 * (narrow.high - narrow.value)


def test_few_values_have_no_interval() -> None:
    found = by_batch_means(np.arange(300), lambda part: float(part.mean()))
    assert found is not None
    assert (found.value, found.low, found.high) == (149.5, None, None)
    assert by_batch_means(np.zeros(0, np.int64), lambda part: 0.0) is None


def test_runs_side_by_side() -> None:
    base, held = Run("base", chain(1, hold_ns=0)), Run("held", chain(1, hold_ns=60))
    other = Run("other", diamond())
    found = compare([base, held, other])
    rows = {row.metric: row for row in found.rows}
    mean = rows["latency mean"]
    first, second, _ = mean.values
    assert first is not None
    assert second is not None
    assert mean.difference(1) == pytest.approx(second - first)
    assert mean.ratio(1) == pytest.approx(second / first)
    assert rows["recall: mean batch"].values[2] is None  # the other pipeline has no such stage
    assert rows["recall: mean batch"].difference(2) is None
    pair, unpaired = found.paired
    assert unpaired is None
    assert pair is not None
    expected = (latencies_ns(held.log) - latencies_ns(base.log)) / 1e6
    assert pair.mean_ms.value == pytest.approx(expected.mean())
    assert pair.slower == pytest.approx((expected > 0).mean())
    assert pair.faster == pytest.approx((expected < 0).mean())
    json.dumps(found.to_json(), allow_nan=False)


def test_a_run_equals_itself() -> None:
    run = Run("a", chain(count=600))
    found = compare([run, run])
    assert all(row.difference(1) in (0, None) for row in found.rows)
    pair = found.paired[0]
    assert pair is not None
    assert (pair.mean_ms.value, pair.mean_ms.low, pair.mean_ms.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="at least one run"):
        compare([])
