"""The invariants hold for honest runs, and every way to break one is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.runlog import Int64, Outcome, RunLog
from reports.invariants import check
from tests.run_maker import chain, diamond


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), loss=st.sampled_from([0.0, 0.2]), bound=st.integers(2, 40))
def test_honest_runs_pass(seed: int, loss: float, bound: int) -> None:
    assert check(diamond(seed, 60, loss=loss, bound=bound)) == []
    assert check(chain(seed, 60)) == []


def with_requests(log: RunLog, **columns: object) -> RunLog:
    return replace(log, requests=replace(log.requests, **columns))  # type: ignore[arg-type]


def with_batches(log: RunLog, index: int, **columns: object) -> RunLog:
    stage = log.stages[index]
    changed = replace(stage, batches=replace(stage.batches, **columns))  # type: ignore[arg-type]
    return replace(log, stages=(*log.stages[:index], changed, *log.stages[index + 1 :]))


def with_visits(log: RunLog, index: int, **columns: object) -> RunLog:
    stage = log.stages[index]
    changed = replace(stage, visits=replace(stage.visits.made(), **columns))  # type: ignore[arg-type]
    return replace(log, stages=(*log.stages[:index], changed, *log.stages[index + 1 :]))


def put(column: Int64, at: int, value: int) -> Int64:
    changed = column.copy()
    changed[at] = value
    return changed


def swap_first_batches(log: RunLog) -> RunLog:
    batches = log.stages[1].batches
    return with_batches(log, 1, batch=put(put(batches.batch, 0, 1), 1, 0))


def second_batch_overlaps(log: RunLog) -> RunLog:
    """The only replica of the first stage takes its second batch while the first runs."""
    batches = log.stages[0].batches
    start = int(batches.finished_ns[0]) - 1
    return with_batches(
        log,
        0,
        dispatched_ns=put(batches.dispatched_ns, 1, start),
        started_ns=put(batches.started_ns, 1, start),
    )


BREAKS: dict[str, Callable[[RunLog], RunLog]] = {
    "an outcome is none that there is": lambda log: with_requests(
        log, outcome=put(log.requests.outcome.astype(np.int64), 3, 9).astype(np.int8)
    ),
    "pending and yet ended": lambda log: with_requests(
        log, outcome=put(log.requests.outcome.astype(np.int64), 3, Outcome.PENDING).astype(np.int8)
    ),
    "ended before arrival or after": lambda log: with_requests(
        log, ended_ns=put(log.requests.ended_ns, 3, log.end_ns + 1)
    ),
    "arrivals are not in order": lambda log: with_requests(
        log, arrival_ns=put(log.requests.arrival_ns, 3, 0)
    ),
    "expired before the deadline": lambda log: with_requests(
        log, outcome=put(log.requests.outcome.astype(np.int64), 3, Outcome.EXPIRED).astype(np.int8)
    ),
    "not answered without a reason, or answered": lambda log: with_requests(
        log, reasons={3: "no reason at all"}
    ),
    "start before dispatch": lambda log: with_batches(
        log, 1, started_ns=put(log.stages[1].batches.started_ns, 2, 0)
    ),
    "finish before start": lambda log: with_batches(
        log, 1, finished_ns=put(log.stages[1].batches.finished_ns, 2, 0)
    ),
    "finish after the end of the run": lambda log: replace(log, end_ns=log.end_ns - 1),
    "more than max_batch": lambda log: with_batches(
        log, 1, requests=put(log.stages[1].batches.requests, 2, 99)
    ),
    "not as many as their batch has": lambda log: with_batches(
        log,
        0,
        requests=put(log.stages[0].batches.requests, 2, 4 - log.stages[0].batches.requests[2]),
    ),
    "name a replica that does not exist": lambda log: with_batches(
        log, 1, replica=np.full(len(log.stages[1].batches.batch), 7, np.int32)
    ),
    "not in order of dispatch": lambda log: with_batches(
        log, 1, dispatched_ns=put(log.stages[1].batches.dispatched_ns, 5, 0)
    ),
    "not numbered 0, 1, 2": swap_first_batches,
    "starts a batch at": second_batch_overlaps,
    "is sent a batch while it is down": lambda log: replace(
        log, stages=(replace(log.stages[0], down=((0, 0, log.end_ns),)), *log.stages[1:])
    ),
    "slots but runs 2 batches": lambda log: replace(
        log, devices=tuple(replace(device, slots=1) for device in log.devices)
    ),
    "point at a batch that does not exist": lambda log: with_visits(
        log, 1, row=put(log.stages[1].visits.row, 5, 10**6)
    ),
    "visits are of a request that does not exist": lambda log: with_visits(
        log, 1, request=put(log.stages[1].visits.request, 5, -1)
    ),
    "that were dispatched do not come first": lambda log: with_visits(
        log, 1, row=put(log.stages[1].visits.row, 5, -1)
    ),
    "enter the queue before the request arrives": lambda log: with_visits(
        log, 0, enqueued_ns=put(log.stages[0].visits.enqueued_ns, 50, 0)
    ),
    "dispatched before they enter the queue": lambda log: with_visits(
        log, 0, enqueued_ns=put(log.stages[0].visits.enqueued_ns, 5, log.end_ns)
    ),
    "a request comes twice": lambda log: with_visits(
        log, 1, request=put(log.stages[1].visits.request, 5, int(log.stages[1].visits.request[6]))
    ),
    "a completed request was not served": lambda log: with_visits(
        log, 1, request=put(log.stages[1].visits.request, 5, int(log.stages[1].visits.request[6]))
    ),
    "visits begin before stage recall has finished": lambda log: with_visits(
        log, 1, enqueued_ns=put(log.stages[1].visits.enqueued_ns, 5, 0)
    ),
    "parent nowhere is no stage": lambda log: replace(
        log, stages=(*log.stages[:2], replace(log.stages[2], parents=("nowhere",)))
    ),
    "not every replica has a device": lambda log: replace(log, devices=log.devices[:1]),
}


@pytest.mark.parametrize("message", list(BREAKS))
def test_a_broken_run_is_noticed(message: str) -> None:
    log = chain(2, 120)
    assert check(log) == []
    found = check(BREAKS[message](log))
    assert any(message in sentence for sentence in found), found
