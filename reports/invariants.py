"""What must hold in every run, whichever driver made it. Violations are told in words, not raised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from policies.giving_up import given_up
from policies.runlog import BatchLog, Int64, Outcome, RunLog, StageLog
from reports.freetime import slots_taken
from reports.steps import cover, longest_level
from reports.waits import finished_by_request


def check(log: RunLog) -> list[str]:
    """Every violated invariant, one sentence each with the first offender; empty where all hold.

    - every request ended in exactly one way, so that arrived = completed + shed + expired + failed
      (+ pending, in a run that was interrupted);
    - enqueued <= dispatched <= started <= finished <= end of the run;
    - no replica runs two batches at once, or one while it is down; no device exceeds its slots;
    - a batch has 1 to max_batch requests, those of the visits that point at it;
    - a batch is sent at most twice, and at most one of two attempts serves its requests;
    - a request's level is the highest of its batches', and of those at which it went on without a stage;
    - who went on without a stage waited in its queue and was in no batch of it;
    - a request visits a stage at most once, a completed one every stage, after its parents; but for
      joins that go on without a parent: a request is there after one of them at least, and whether it was
      at stages that lead to such joins alone is left open.
    """
    found = list(_check_references(log))
    if found:
        return found  # what is checked below follows these references
    found += _check_requests(log)
    found += _check_levels(log)
    needless = _may_be_missed(log)
    for stage in log.stages:
        found += _check_batches(log, stage)
        found += _check_replicas(stage)
        found += _check_visits(log, stage, stage.name in needless)
        found += _check_skipped(log, stage)
    return found + list(_check_devices(log)) + list(_check_parents(log))


def _may_be_missed(log: RunLog) -> set[str]:
    """Stages that a request can do without."""
    names = [stage.name for stage in log.stages]
    joins = given_up(
        names, [stage.parents for stage in log.stages], [stage.partial for stage in log.stages]
    )
    return {names[index] for _, before in joins for index in before}


def _first(broken: NDArray[np.bool_]) -> str:
    """'(number of offenders, first: index)' for a message."""
    return f"({int(broken.sum())} in all, first: {int(np.argmax(broken))})"


def _check_references(log: RunLog) -> Iterator[str]:
    names = {stage.name for stage in log.stages}
    for stage in log.stages:
        where, batches = f"stage {stage.name}", stage.batches
        visits = stage.visits.made()
        lost = sorted(set(stage.parents) - names)
        if lost:
            yield f"{where}: parent {lost[0]} is no stage"
        devices = stage.replica_devices
        if len(devices) != stage.replicas or not all(0 <= d < len(log.devices) for d in devices):
            yield f"{where}: not every replica has a device that there is"
        for rows, count, what in (
            (batches.replica, stage.replicas, "batches name a replica"),
            (visits.row[visits.row != -1], len(batches.batch), "visits point at a batch"),
            (visits.request, len(log.requests), "visits are of a request"),
            (_skipped(stage), len(log.requests), "it was skipped by a request"),
        ):
            broken = (rows < 0) | (rows >= count)
            if broken.any():
                yield f"{where}: {what} that does not exist {_first(broken)}"


def _skipped(stage: StageLog) -> Int64:
    return np.zeros(0, np.int64) if stage.skipped is None else stage.skipped.request


def _check_requests(log: RunLog) -> Iterator[str]:
    requests = log.requests
    outcome, ended = requests.outcome, requests.ended_ns
    known = np.isin(outcome, [int(kind) for kind in Outcome])
    if not known.all():
        yield f"requests: an outcome is none that there is {_first(~known)}"
    pending = outcome == Outcome.PENDING
    broken = pending != (ended < 0)
    if broken.any():
        yield f"requests: pending and yet ended, or ended without a time {_first(broken)}"
    broken = ~pending & ((ended < requests.arrival_ns) | (ended > log.end_ns))
    if broken.any():
        yield f"requests: ended before arrival or after the end of the run {_first(broken)}"
    broken = (requests.arrival_ns < 0) | (np.diff(requests.arrival_ns, prepend=0) < 0)
    if broken.any():
        yield f"requests: arrivals are not in order {_first(broken)}"
    broken = (outcome == Outcome.EXPIRED) & (ended < requests.deadline_ns)
    if broken.any():
        yield f"requests: expired before the deadline {_first(broken)}"
    dropped = ~pending & (outcome != Outcome.COMPLETED)
    explained = np.zeros(len(requests), np.bool_)
    explained[list(requests.reasons)] = True
    broken = dropped != explained
    if broken.any():
        yield f"requests: not answered without a reason, or answered with one {_first(broken)}"


def _check_levels(log: RunLog) -> Iterator[str]:
    level = np.zeros(len(log.requests), np.int8)
    for stage in log.stages:
        if stage.batches.level is not None:
            visits = stage.visits.made()
            sent = visits.row >= 0
            np.maximum.at(level, visits.request[sent], stage.batches.level[visits.row[sent]])
        if stage.skipped is not None:
            np.maximum.at(level, stage.skipped.request, stage.skipped.level)
    broken = level != log.requests.level
    if broken.any():
        yield f"requests: a level is not the highest of the batches {_first(broken)}"


def _check_batches(log: RunLog, stage: StageLog) -> Iterator[str]:
    batches, where = stage.batches, f"stage {stage.name}: batch rows"
    broken = (batches.dispatched_ns > batches.started_ns) | (
        batches.started_ns > batches.finished_ns
    )
    if broken.any():
        yield f"{where} start before dispatch or finish before start {_first(broken)}"
    broken = batches.finished_ns > log.end_ns
    if broken.any():
        yield f"{where} finish after the end of the run {_first(broken)}"
    broken = (batches.requests < 1) | (batches.requests > stage.max_batch)
    if broken.any():
        yield f"{where} have no request, or more than max_batch ({stage.max_batch}) {_first(broken)}"
    broken = np.diff(batches.dispatched_ns, prepend=0) < 0
    if broken.any():
        yield f"{where} are not in order of dispatch {_first(broken)}"
    fresh = batches.attempt == 1
    if not np.array_equal(batches.batch[fresh], np.arange(int(fresh.sum()))):
        yield f"{where} of first attempts are not numbered 0, 1, 2, ..."
    yield from _check_attempts(batches, where)


def _check_attempts(batches: BatchLog, where: str) -> Iterator[str]:
    """A batch that was hedged is served by one attempt; the other is discarded, if it was not lost."""
    count = len(batches.batch)
    if not count:
        return
    sent = np.bincount(batches.batch)
    if (sent > 2).any():
        yield f"{where}: a batch is sent more than twice {_first(sent > 2)}"
    useless = batches.lost | batches.discarded
    served = np.bincount(batches.batch[~useless], minlength=len(sent))
    if (served > 1).any():
        yield f"{where}: two attempts of a batch serve it {_first(served > 1)}"
    kept = np.bincount(batches.batch[~batches.discarded], minlength=len(sent))
    broken = batches.discarded & ((kept[batches.batch] == 0) | batches.lost)
    if broken.any():
        yield f"{where} are discarded that were lost, or without another attempt {_first(broken)}"


def _check_replicas(stage: StageLog) -> Iterator[str]:
    batches = stage.batches
    order = np.lexsort((batches.finished_ns, batches.dispatched_ns, batches.replica))
    replica = batches.replica[order]
    start, end = batches.dispatched_ns[order], batches.finished_ns[order]
    overlap = (replica[1:] == replica[:-1]) & (start[1:] < end[:-1])
    if overlap.any():
        at = int(np.argmax(overlap)) + 1
        yield (
            f"stage {stage.name}: replica {replica[at]} starts a batch at {start[at]} ns "
            f"while one runs until {end[at - 1]} ns"
        )
    for down, from_ns, to_ns in stage.down:
        inside = (batches.replica == down) & (batches.dispatched_ns > from_ns)
        inside &= batches.dispatched_ns < to_ns
        if inside.any():
            yield (
                f"stage {stage.name}: replica {down} is sent a batch while it is down "
                f"from {from_ns} to {to_ns} ns {_first(inside)}"
            )


def _check_devices(log: RunLog) -> Iterator[str]:
    for index, device in enumerate(log.devices):
        most, at_ns = longest_level(cover(*slots_taken(log, index)))
        if most > device.slots:
            yield f"device {device.name} has {device.slots} slots but runs {most} batches at {at_ns} ns"


def _check_visits(log: RunLog, stage: StageLog, missable: bool) -> Iterator[str]:
    visits, batches = stage.visits.made(), stage.batches
    where = f"stage {stage.name}: visits"
    sent = visits.row >= 0
    broken = np.diff(sent.astype(np.int8), prepend=1) > 0
    if broken.any():
        yield f"{where} that were dispatched do not come first {_first(broken)}"
    broken = visits.enqueued_ns < log.requests.arrival_ns[visits.request]
    if broken.any():
        yield f"{where} enter the queue before the request arrives {_first(broken)}"
    broken = np.zeros(len(visits.row), np.bool_)
    broken[sent] = visits.enqueued_ns[sent] > batches.dispatched_ns[visits.row[sent]]
    if broken.any():
        yield f"{where} are dispatched before they enter the queue {_first(broken)}"
    times = np.bincount(visits.request, minlength=len(log.requests))
    if (times > 1).any():
        yield f"{where}: a request comes twice {_first(times > 1)}"
    broken = _size_differs(stage, np.bincount(visits.row[sent], minlength=len(batches.batch)))
    if broken.any():
        yield f"{where} are not as many as their batch has requests {_first(broken)}"
    if missable:
        return
    done = finished_by_request(log, stage)
    completed = log.requests.outcome == Outcome.COMPLETED
    broken = completed & ((done < 0) | (done > log.requests.ended_ns))
    if broken.any():
        yield f"{where}: a completed request was not served, or only after it ended {_first(broken)}"


def _check_skipped(log: RunLog, stage: StageLog) -> Iterator[str]:
    skipped = stage.skipped
    if skipped is None:
        return
    visits, where = stage.visits.made(), f"stage {stage.name}: requests that went on without it"
    enqueued_ns = np.full(len(log.requests), -1, np.int64)
    unsent = visits.row < 0
    enqueued_ns[visits.request[unsent]] = visits.enqueued_ns[unsent]
    entered_ns = enqueued_ns[skipped.request]
    broken = (entered_ns < 0) | (entered_ns > skipped.at_ns)
    if broken.any():
        yield f"{where} did not wait in its queue, or were sent {_first(broken)}"


def _size_differs(stage: StageLog, visits: Int64) -> NDArray[np.bool_]:
    """Batches whose visits are not theirs; those of a lost or discarded one are with its other attempt."""
    batches = stage.batches
    differs: NDArray[np.bool_] = visits != batches.requests
    differs &= ~((batches.lost | batches.discarded) & (visits == 0))
    return differs


def _check_parents(log: RunLog) -> Iterator[str]:
    by_name = {stage.name: stage for stage in log.stages}
    for stage in log.stages:
        visits = stage.visits.made()
        if stage.partial:
            yield from _check_partial(log, stage)
            continue
        for parent in stage.parents:
            done = finished_by_request(log, by_name[parent])[visits.request]
            broken = (done < 0) | (done > visits.enqueued_ns)
            if broken.any():
                yield (
                    f"stage {stage.name}: visits begin before stage {parent} has finished "
                    f"{_first(broken)}"
                )


def _check_partial(log: RunLog, stage: StageLog) -> Iterator[str]:
    """Whoever is at a join that does without some has come from one parent at least."""
    visits = stage.visits.made()
    came = np.zeros(len(visits.request), np.bool_)
    for parent in log.stages:
        if parent.name in stage.parents:
            done = finished_by_request(log, parent)[visits.request]
            came |= (done >= 0) & (done <= visits.enqueued_ns)
    if not came.all():
        yield f"stage {stage.name}: visits begin before any parent has finished {_first(~came)}"
