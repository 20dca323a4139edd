"""Metrics against hand-computed runs and against a scan of every nanosecond."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.contract import NEVER_NS
from policies.runlog import (
    DeviceLog,
    Int64,
    Outcome,
    RequestLog,
    RunLog,
    StageLog,
    VisitLog,
)
from reports import definitions
from reports.freetime import free_time
from reports.late import late_s
from reports.metrics import Metrics, measure
from reports.percentiles import STATISTICS, Distribution, percentile, percentiles
from reports.steps import mean_level, overlap_ns, union
from reports.totals import latencies_ns, totals
from reports.waits import merge_by_request, visit_times
from tests.run_maker import batch_log, chain, diamond

NS_IN_MS = 1e6


def ints(*values: int) -> Int64:
    return np.array(values, np.int64)


def requests(arrival: Int64, ended: Int64, deadline: Int64 | None = None) -> RequestLog:
    count = len(arrival)
    return RequestLog(
        arrival_ns=arrival,
        deadline_ns=np.full(count, NEVER_NS, np.int64) if deadline is None else deadline,
        items=np.ones(count, np.int64),
        ended_ns=ended,
        outcome=np.full(count, Outcome.COMPLETED, np.int8),
        level=np.zeros(count, np.int8),
        priority=np.zeros(count, np.int8),
    )


def stage(
    name: str,
    spans: list[tuple[int, int, int, int]],
    visits: list[tuple[int, int, int]],
    *,
    devices: tuple[int, ...] = (0,),
    parents: tuple[str, ...] = (),
    down: tuple[tuple[int, int, int], ...] = (),
) -> StageLog:
    """``spans``: (replica, dispatched, finished, requests); ``visits``: (request, enqueued, row)."""
    replica, dispatched, finished, size = np.array(spans, np.int64).reshape(-1, 4).T
    request, enqueued, row = np.array(visits, np.int64).reshape(-1, 3).T
    ones, zeros = np.ones(len(spans), np.int64), np.zeros(len(spans), np.int64)
    number = np.arange(len(spans))
    return StageLog(
        name=name,
        replicas=len(devices),
        replica_devices=devices,
        max_batch=8,
        branch="",
        parents=parents,
        batches=batch_log(
            number, replica, dispatched, dispatched, finished, size, size, ones, zeros
        ),
        visits=VisitLog(request, enqueued, row),
        down=down,
    )


def one_replica(down: tuple[tuple[int, int, int], ...] = ()) -> RunLog:
    """Requests at 0, 4, 12; a hold until 10, a batch of two on [10, 30), one on [35, 40)."""
    own = stage(
        "s", [(0, 10, 30, 2), (0, 35, 40, 1)], [(0, 0, 0), (1, 4, 0), (2, 12, 1)], down=down
    )
    log = requests(ints(0, 4, 12), ints(30, 30, 40), ints(30, 25, 100))
    return RunLog(log, (own,), (DeviceLog("d", 1),), 40)


def test_hold_is_the_waiting_while_a_replica_was_free() -> None:
    times = visit_times(one_replica(), 0)
    assert times.queue_ns.tolist() == [10, 6, 23]
    assert times.hold_ns.tolist() == [10, 6, 5]  # request 2: busy until 30, then held 5
    assert times.service_ns.tolist() == [20, 20, 5]


def test_a_replica_that_is_down_cannot_be_held() -> None:
    times = visit_times(one_replica(((0, 2, 5), (0, 29, 33))), 0)
    assert times.hold_ns.tolist() == [7, 5, 2]


def test_a_slot_taken_by_another_stage_is_not_a_hold() -> None:
    own = stage("a", [(0, 20, 25, 1)], [(0, 0, 0)], devices=(0,))
    other = stage("b", [(0, 3, 9, 1), (0, 9, 11, 1)], [], devices=(0,))
    log = RunLog(requests(ints(0), ints(25)), (own, other), (DeviceLog("d", 1),), 25)
    assert visit_times(log, 0).hold_ns.tolist() == [12]
    two_slots = RunLog(log.requests, log.stages, (DeviceLog("d", 2),), 25)
    assert visit_times(two_slots, 0).hold_ns.tolist() == [20]


def test_a_stage_is_free_if_any_of_its_devices_is() -> None:
    own = stage("a", [(0, 0, 10, 1), (1, 5, 15, 1), (0, 30, 40, 1)], [(0, 2, 2)], devices=(0, 1))
    log = RunLog(requests(ints(2), ints(40)), (own,), (DeviceLog("x", 1), DeviceLog("y", 1)), 40)
    # From 2 on: replica 1 idle on [2, 5), both busy on [5, 10), free from 10.
    assert visit_times(log, 0).hold_ns.tolist() == [3 + 20]


def test_an_attempt_that_was_lost_is_waited_for_but_not_held() -> None:
    lost = stage(
        "a", [(0, 2, 10, 1), (1, 12, 20, 1)], [(0, 0, 1)], devices=(0, 1), down=((0, 10, 40),)
    )
    batches = batch_log(
        ints(0, 0),
        lost.batches.replica.astype(np.int64),
        lost.batches.dispatched_ns,
        lost.batches.started_ns,
        lost.batches.finished_ns,
        lost.batches.requests,
        lost.batches.items,
        ints(1, 2),
        ints(1, 0),
    )
    own = StageLog("a", 2, (0, 1), 8, "", (), batches, lost.visits, ((0, 10, 40),))
    log = RunLog(requests(ints(0), ints(20)), (own,), (DeviceLog("x", 1), DeviceLog("y", 1)), 20)
    times = visit_times(log, 0)
    assert times.queue_ns.tolist() == [12]
    assert times.hold_ns.tolist() == [4]  # [0, 2) and [10, 12); not [2, 10), when it ran


def test_metrics_of_a_run_by_hand() -> None:
    found = measure(one_replica())
    assert (found.arrived, found.completed, found.failed) == (3, 3, 0)
    assert found.duration_s == 40e-9
    assert found.throughput_rps == pytest.approx(3 / 40e-9)
    assert found.goodput_rps == pytest.approx(2 / 40e-9)  # request 1 missed its deadline of 25
    assert found.latency.max_ms == 30 / NS_IN_MS
    assert found.latency.p50_ms == 28 / NS_IN_MS
    assert found.latency.mean_ms == pytest.approx((30 + 26 + 28) / 3 / NS_IN_MS)
    only = found.stages[0]
    assert (only.batches, only.mean_batch, only.batch_sizes) == (2, 1.5, ((1, 1), (2, 1)))
    assert only.utilization == pytest.approx(25 / 40)
    assert found.devices[0].utilization == pytest.approx(25 / 40)
    assert found.cost.busy_seconds == pytest.approx(25e-9)
    assert found.cost.busy_seconds_per_1000 == pytest.approx(1000 * 25e-9 / 3)
    assert found.cost.replica_seconds_per_1000 == pytest.approx(1000 * 40e-9 / 3)


def test_totals_are_told_without_a_look_at_the_visits() -> None:
    log = one_replica()
    nothing: Any = None
    told = totals(replace(log, stages=tuple(replace(each, visits=nothing) for each in log.stages)))
    assert told.latency == measure(log).latency
    assert told.stages[0].utilization == pytest.approx(25 / 40)


def test_goodput_counts_answers_within_the_objective() -> None:
    assert measure(one_replica(), objective_ns=28).goodput_rps == pytest.approx(2 / 40e-9)
    assert measure(one_replica(), objective_ns=25).goodput_rps == 0


def test_a_warm_up_cut_drops_early_requests_but_keeps_counts() -> None:
    found = measure(one_replica(), warmup_ns=20)
    assert found.completed == 3
    assert found.latency.count == 0
    assert found.latency.p99_ms is None
    assert found.duration_s == 20e-9
    assert found.throughput_rps == pytest.approx(3 / 20e-9)
    assert found.stages[0].batches == 1
    assert found.stages[0].utilization == pytest.approx((10 + 5) / 20)
    assert measure(one_replica(), warmup_ns=4).latency.count == 2


@pytest.mark.parametrize("warmup_ns", [-1, 41])
def test_a_warm_up_cut_outside_the_run_is_refused(warmup_ns: int) -> None:
    with pytest.raises(ValueError, match=r"warmup must be between 0 and the length of the run"):
        measure(one_replica(), warmup_ns=warmup_ns)


def test_merge_wait_is_from_the_first_branch_to_the_last() -> None:
    left = stage("l", [(0, 0, 10, 1), (0, 10, 14, 1)], [(0, 0, 0), (1, 0, 1)])
    right = stage("r", [(0, 0, 3, 1), (0, 3, 20, 1)], [(0, 0, 0), (1, 0, 1)], devices=(1,))
    join = stage(
        "j",
        [(0, 10, 11, 1), (0, 20, 22, 1)],
        [(0, 10, 0), (1, 20, 1)],
        devices=(2,),
        parents=("l", "r"),
    )
    devices = tuple(DeviceLog(name, 1) for name in "abc")
    log = RunLog(requests(ints(0, 0), ints(11, 22)), (left, right, join), devices, 22)
    waits = merge_by_request(log, 2)
    assert waits is not None
    assert waits.tolist() == [7, 6]
    assert merge_by_request(log, 0) is None
    early = stage(
        "j",
        [(0, 10, 11, 1), (0, 20, 22, 1)],
        [(0, 6, 0), (1, 20, 1)],
        devices=(2,),
        parents=("l", "r"),
    )
    partial = replace(log, stages=(left, right, replace(early, partial=True)))
    waits = merge_by_request(partial, 2)
    assert waits is not None
    assert waits.tolist() == [3, 6]  # of the first request, the join did not wait for l
    found = measure(partial)
    assert [each.missing_share for each in found.stages] == [0.5, 0.0, None]
    merged = measure(log).stages[2].merge
    assert merged is not None
    assert merged.mean_ms == pytest.approx(6.5 / NS_IN_MS)


def brute_force_hold(log: RunLog, index: int) -> list[int]:
    """The definition, instant by instant."""
    own = log.stages[index]
    free = np.zeros(log.end_ns + 1, np.int64)
    for now in range(log.end_ns + 1):
        for replica, device in enumerate(own.replica_devices):
            busy = any(
                own.batches.replica[row] == replica
                and own.batches.dispatched_ns[row] <= now < own.batches.finished_ns[row]
                for row in range(len(own.batches.batch))
            )
            down = any(r == replica and start <= now < end for r, start, end in own.down)
            running = sum(
                other.replica_devices[other.batches.replica[row]] == device
                and other.batches.dispatched_ns[row] <= now < other.batches.finished_ns[row]
                for other in log.stages
                for row in range(len(other.batches.batch))
            )
            if not busy and not down and running < log.devices[device].slots:
                free[now] = 1
    total = np.concatenate([[0], np.cumsum(free)])
    return [int(total[at]) for at in range(log.end_ns + 1)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), loss=st.sampled_from([0.0, 0.25]))
def test_free_time_equals_a_scan_of_every_nanosecond(seed: int, loss: float) -> None:
    log = diamond(seed, 14, loss=loss, bound=5)
    for index in range(len(log.stages)):
        at = np.arange(log.end_ns + 1)
        found = free_time(log, index).until(at) - free_time(log, index).until(ints(0))
        assert found.tolist() == brute_force_hold(log, index)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), hold=st.integers(0, 60))
def test_the_parts_of_a_chain_sum_to_the_latency(seed: int, hold: int) -> None:
    log = chain(seed, 60, hold_ns=hold)
    total = np.zeros(60, np.int64)
    for index in range(len(log.stages)):
        times = visit_times(log, index)
        assert (times.hold_ns >= 0).all()
        assert (times.hold_ns <= times.queue_ns).all()
        total[times.request] += times.queue_ns + times.service_ns
    assert total.tolist() == latencies_ns(log).tolist()


def test_percentiles_are_observed_values_of_the_nearest_rank() -> None:
    values = np.random.default_rng(3).permutation(np.arange(1, 1001))
    assert percentiles(values, (50, 90, 99, 99.9, 100)) == (500, 900, 990, 999, 1000)
    assert percentile(ints(7), 0.1) == 7
    # In binary floats 0.07 * 100 is just above 7, which would give rank 8.
    assert percentile(np.arange(1, 101), 7) == 7


@given(
    values=st.lists(st.integers(0, 10**12), min_size=1, max_size=200),
    percent=st.floats(0.01, 100, allow_nan=False),
)
def test_a_percentile_is_the_least_value_that_enough_values_reach(
    values: list[int], percent: float
) -> None:
    found = percentile(np.array(values, np.int64), percent)
    below = sum(value < found for value in values)
    up_to = sum(value <= found for value in values)
    assert 100 * up_to >= percent * len(values) * (1 - 1e-12)
    assert 100 * below < percent * len(values) * (1 + 1e-12)


@pytest.mark.parametrize("percent", [0, -1, 100.5])
def test_a_percent_outside_its_range_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percentile must be above 0 and at most 100"):
        percentile(ints(1, 2), percent)


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        percentile(ints(), 50)


def test_a_distribution_survives_json() -> None:
    found = Distribution.of(ints(1, 2, 3, 10))
    assert list(found.to_json()) == list(STATISTICS)
    assert Distribution.from_json(found.to_json(), found.count) == found


def test_interval_arithmetic() -> None:
    starts, ends = union(ints(5, 0, 2, 9), ints(7, 3, 4, 9))
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [(0, 4), (5, 7), (9, 9)]
    assert overlap_ns(ints(0, 5, 20), ints(10, 8, 30), 6, 25) == 4 + 2 + 5
    assert mean_level(ints(0, 5), ints(10, 15), ints(0, 10, 20)).tolist() == [1.5, 0.5]


def test_the_json_object_has_the_promised_keys_and_no_nan() -> None:
    empty = RunLog(requests(ints(), ints()), (stage("s", [], []),), (DeviceLog("d", 1),), 0)
    for log in (empty, diamond(loss=0.1, bound=6)):
        found = measure(log).to_json()
        text = json.dumps(found, allow_nan=False)
        assert json.loads(text) == found
        assert list(found) == [
            "engine",
            "seed",
            "arrived",
            "completed",
            "shed",
            "expired",
            "failed",
            "duration_s",
            "throughput_rps",
            "goodput_rps",
            "latency_ms",
            "stages",
            "cost",
        ]
        stages = found["stages"]
        assert isinstance(stages, dict)
        for entry in stages.values():
            parts = ["hold_ms", "queue_ms", "service_ms"]
            assert list(entry) == ["batches", "mean_batch", "utilization", *parts]
            assert all(list(entry[part]) == ["mean", "p99"] for part in parts)
        assert found["latency_ms"] == measure(log).latency.to_json()
    assert measure(empty).throughput_rps is None
    assert measure(empty).latency.to_json() == dict.fromkeys(STATISTICS)


def test_counts_add_up_when_requests_are_dropped() -> None:
    log = diamond(3, loss=0.3, bound=3)
    found = measure(log)
    assert found.shed > 0
    assert found.failed > 0
    assert found.arrived == found.completed + found.shed + found.expired + found.failed
    assert found.latency.count == found.completed
    assert all(math.isfinite(each.utilization or 0) for each in found.stages)


def test_metrics_need_no_slow_library() -> None:
    code = (
        "import sys, reports.metrics, reports.run, reports.invariants\n"
        "print([m for m in ('pyarrow', 'matplotlib', 'scipy', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_of_metrics_is_the_definitions() -> None:
    page = Path(__file__).parent.parent / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == definitions.markdown()


def test_every_key_that_is_printed_is_defined() -> None:
    found: Metrics = measure(chain(count=20))
    keys = " ".join(item.key for item in definitions.DEFINITIONS)
    printed = found.to_json()
    for key in printed:
        assert key in keys or key in ("engine", "seed"), key
    stages = printed["stages"]
    assert isinstance(stages, dict)
    for key in stages["recall"]:
        assert f"stages.NAME.{key}" in keys


def test_work_that_a_join_did_not_wait_for_is_discarded_by_its_share() -> None:
    # Batch 0 of l holds both requests; the join has gone on with the first, not with the second.
    left = stage("l", [(0, 0, 10, 2)], [(0, 0, 0), (1, 0, 0)])
    right = stage("r", [(0, 0, 3, 1), (0, 3, 20, 1)], [(0, 0, 0), (1, 0, 1)], devices=(1,))
    join = stage(
        "j",
        [(0, 6, 7, 1), (0, 20, 22, 1)],
        [(0, 6, 0), (1, 20, 1)],
        devices=(2,),
        parents=("l", "r"),
    )
    devices = tuple(DeviceLog(name, 1) for name in "abc")
    log = RunLog(requests(ints(0, 0), ints(7, 22)), (left, right, join), devices, 22)
    assert late_s(log) == 0
    partial = replace(log, stages=(left, right, replace(join, partial=True)))
    assert late_s(partial) == pytest.approx(5e-9)
    assert late_s(partial, 4) == pytest.approx(3e-9)
    assert measure(partial).cost.discarded_seconds == pytest.approx(5e-9)
