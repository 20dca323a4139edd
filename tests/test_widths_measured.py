"""What a candidate takes, measured: of made-up records exactly, and of real workers at all."""

from __future__ import annotations

import numpy as np
import pytest

from configs.measured_width import MeasuredWidth
from executors.executor import Executor
from executors.levels import Cheaper, LevelError, models_at
from executors.profiler import ProfilePlan, profile_pipeline
from executors.widths import LEAST_BATCHES, Width, measured_widths, saved_by_request
from policies.immediate import Immediate
from policies.pipeline import Pipeline, Stage
from policies.runlog import BatchLog
from policies.workload import Workload
from tests.executor_models import WIDTH, Linear, Seen

MS = 1_000_000


def batches(rows: list[tuple[int, int, int]], lost: int = 0) -> BatchLog:
    """Of (requests, time, level); the first so many were lost."""
    requests, times_ns, level = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    count = len(rows)
    zeros = np.zeros(count, np.int64)
    return BatchLog(
        batch=np.arange(count),
        replica=zeros.astype(np.int32),
        dispatched_ns=zeros,
        started_ns=zeros,
        finished_ns=times_ns,
        requests=requests,
        items=requests,
        attempt=zeros.astype(np.int8),
        lost=np.arange(count) < lost,
        discarded=np.zeros(count, np.bool_),
        level=level.astype(np.int8),
    )


def alternating(count: int, each_ns: int, saved_ns: int) -> list[tuple[int, int, int]]:
    sizes = [1 + k // 2 % 5 for k in range(count)]
    return [(n, MS + n * (each_ns - saved_ns * (k % 2)), k % 2) for k, n in enumerate(sizes)]


def test_what_a_request_saves_is_found_whatever_a_batch_takes_before_it() -> None:
    run = batches(alternating(200, 50_000, 20_000))
    assert saved_by_request([run]) == pytest.approx(20_000)
    slower = batches(alternating(200, 90_000, 20_000))
    assert saved_by_request([run, slower]) == pytest.approx(20_000)


def test_nothing_is_saved_by_a_level_that_is_slower() -> None:
    assert saved_by_request([batches(alternating(200, 50_000, -20_000))]) == 0


def test_too_few_batches_tell_nothing() -> None:
    few = alternating(2 * LEAST_BATCHES, 50_000, 20_000)
    assert saved_by_request([batches(few)]) is not None
    assert saved_by_request([batches(few, lost=2)]) is None
    assert saved_by_request([batches([(n, 7, 0) for n, _, _ in few])]) is None


def poisson(rate_hz: float, requests: int) -> Workload:
    gaps = np.random.default_rng(3).exponential(1e9 / rate_hz, requests)
    return Workload.of(np.cumsum(gaps).astype(np.int64))


def test_a_profile_is_taken_at_two_widths_and_holds_full_batches_alone() -> None:
    pipeline = Pipeline(
        (
            Stage("recall", Immediate(), lambda n: 1, max_batch=4),
            Stage("rank", Immediate(), lambda n: 1, max_batch=4, parents=("recall",)),
        )
    )
    sources = {"recall": Linear("z", "x"), "rank": Seen(each_s=0.001)}
    plan = ProfilePlan(loads=(0.5,), holds_ns=(0,), run_s=0.6, saturation_s=0.3)
    told: list[str] = []
    with Executor(pipeline, sources, levels={"rank": [Cheaper(take=1, probe=True)]}) as executor:
        profile = profile_pipeline(
            executor,
            poisson,
            plan=plan,
            widths={"rank": Width(WIDTH, 1)},
            progress=lambda text, _: told.append(text),
        ).profile
    assert told[2] == "load 0.6, immediate, at two widths"
    each_ns = profile.widths["rank"].per_candidate_ns
    assert each_ns is not None
    assert each_ns > 0
    for run in profile.stages["rank"]:
        assert (run.service_ns >= run.requests * WIDTH * MS).all()  # none was shown less


def test_what_was_not_shown_less_has_its_width_alone() -> None:
    assert measured_widths([], {"rank": Width(9, None)}) == {"rank": MeasuredWidth(9)}
    assert measured_widths([], {"rank": Width(9, 4)}) == {"rank": MeasuredWidth(9)}


def test_a_model_without_lists_is_probed_as_it_is() -> None:
    fixed = Seen(width=WIDTH).load("cpu", None)
    assert models_at(fixed, [Cheaper(take=1, probe=True)], "cpu", None) == [fixed, fixed]
    with pytest.raises(LevelError, match="level 1 takes 1 candidates, and no input of its model"):
        models_at(fixed, [Cheaper(take=1)], "cpu", None)
