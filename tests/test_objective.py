"""The objective counts whoever got no answer, and replicated figures are means of all."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from policies.contract import NEVER_NS
from policies.runlog import Outcome, RequestLog, RunLog
from reports.metrics import measure
from reports.objective import attainment, reached_ms
from reports.replicated import Replicated
from reports.run import Objective, Run

MS = 1_000_000


def run_of(latencies_ms: list[float | None], percentile: float = 99.0, warmup_ms: int = 0) -> Run:
    """Request k arrives at k ms; None stands for one that is shed."""
    n = len(latencies_ms)
    arrival_ns = np.arange(n, dtype=np.int64) * MS
    took_ns = np.array([int((each or 0) * MS) for each in latencies_ms], np.int64)
    outcome = [Outcome.SHED if each is None else Outcome.COMPLETED for each in latencies_ms]
    requests = RequestLog(
        arrival_ns,
        np.full(n, NEVER_NS, np.int64),
        np.ones(n, np.int64),
        arrival_ns + took_ns,
        np.array(outcome, np.int8),
        np.zeros(n, np.int8),
        np.zeros(n, np.int8),
    )
    log = RunLog(requests, (), (), int((arrival_ns + took_ns).max()), {"engine": "made", "seed": 1})
    return Run("made", log, Objective(10 * MS, percentile), warmup_ms * MS)


def test_the_latency_is_that_at_the_percentile() -> None:
    assert reached_ms(run_of([1, 2, 3, 4], 50)) == 2
    assert reached_ms(run_of([1, 2, 3, 4], 51)) == 3
    assert reached_ms(run_of([1, 2, 3, 4], 100)) == 4


def test_who_got_no_answer_is_later_than_any() -> None:
    assert reached_ms(run_of([1, None, 3, 4], 50)) == 3
    assert reached_ms(run_of([1, None, 3, 4], 75)) == 4
    assert reached_ms(run_of([1, None, 3, 4], 76)) == math.inf


def test_the_warm_up_does_not_count() -> None:
    assert reached_ms(run_of([50, None, 3, 4], 100, warmup_ms=2)) == 4
    assert reached_ms(run_of([50, 2], 100, warmup_ms=2)) == math.inf


def test_a_run_without_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="made has no objective"):
        reached_ms(replace(run_of([1]), objective=None))


def test_an_interval_across_the_objective_is_not_sure() -> None:
    goal = Objective(10 * MS)
    assert attainment(goal, [9.0, 9.1, 9.2]).met
    assert attainment(goal, [9.0, 9.1, 9.2]).sure
    across = attainment(goal, [8.0, 9.5, 11.0])
    assert across.met
    assert not across.sure
    assert not attainment(goal, [12.0, 12.1]).met
    assert attainment(goal, [9.0]).sure
    assert not attainment(goal, [9.0, math.inf]).met


def test_figures_are_means_over_the_replications_that_have_them() -> None:
    runs = [run_of([2, 4]), run_of([4, 8]), run_of([None, None])]
    found = Replicated(tuple(measure(run.log) for run in runs))
    mean = found.figure("latency_ms", "mean")
    assert mean is not None
    assert mean.value == 4.5
    told = found.to_json()
    assert told["latency_ms"]["mean"] == 4.5  # type: ignore[index]
    assert told["shed"] == pytest.approx(2 / 3)
    assert (told["engine"], told["seed"]) == ("made", 1)
    intervals = told["replications"]
    assert intervals["n"] == 3  # type: ignore[index]
    low, high = (intervals["latency_ms"]["mean"][end] for end in ("low", "high"))  # type: ignore[index]
    half = 12.7062047 * math.sqrt(4.5 / 2)  # t(0.975, 1 degree) s / sqrt(2), s^2 = 4.5
    assert (low, high) == pytest.approx((4.5 - half, 4.5 + half))


def test_one_replication_is_itself() -> None:
    metrics = measure(run_of([2, 4]).log)
    assert Replicated((metrics,)).to_json() == metrics.to_json()
    with pytest.raises(ValueError, match="at least one replication"):
        Replicated(())
