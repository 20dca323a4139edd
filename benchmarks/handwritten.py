"""The yardstick: a loop written by hand for ``configs/pipeline4.yaml`` and nothing else, compiled by numba.

It shows what generality costs the compiled driver. One event loop by the batch over four stages in a
chain, one replica each but for the third; fixed holds counted from the oldest's entry, affine service
without noise, first come first served. Every stage's queue is its parent's batch table, read through a
cursor; only the third stage's batches, which overtake one another, go through a queue of their own.
Completion times and batches are those of ``sim.simulate``, bit for bit (tests/test_handwritten.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from configs.load import load_config
from configs.model import Config
from policies.contract import NEVER_NS
from policies.fixed import Fixed
from policies.runlog import Int64
from sim.service.affine import Affine

PIPELINE4 = Path(__file__).resolve().parents[1] / "configs" / "pipeline4.yaml"
STAGES = 4
RANKERS = 4
"""Replicas of the third stage; the others have one."""


class Batches(NamedTuple):
    """A stage's batches, in order of dispatch."""

    dispatched_ns: Int64
    finished_ns: Int64
    requests: Int64


@dataclass(frozen=True, slots=True)
class Setting:
    """What the loop takes from the configuration; the rest of it is written into the code."""

    delay_ns: tuple[int, ...]
    base_ns: int
    per_request_ns: int
    max_batch: int


def setting_of(config: Config) -> Setting:
    """Raises ValueError for a pipeline that this loop is not: all but the fields of :class:`Setting` and
    the arrivals must be as shipped.
    """
    first = config.stages[0]
    delays = tuple(s.policy.delay_ns for s in config.stages if isinstance(s.policy, Fixed))
    shipped = load_config(PIPELINE4)
    as_shipped = tuple(
        replace(stage, policy=Fixed(delay_ns), service=first.service, max_batch=first.max_batch)
        for stage, delay_ns in zip(shipped.stages, delays, strict=False)
    )
    model = first.service
    if (
        config.stages != as_shipped
        or config.devices
        or config.workload.expire
        or len(delays) != STAGES
        or not isinstance(model, Affine)
        or model != Affine(max(model.base_ns, 1), model.per_request_ns)
    ):
        raise ValueError(f"{config.name} is not the pipeline that this loop is written for")
    return Setting(delays, model.base_ns, model.per_request_ns, first.max_batch)


def run(arrival_ns: Int64, setting: Setting) -> tuple[Int64, list[Batches]]:
    """Completion times by request, and each stage's batches."""
    ended_ns = np.empty(len(arrival_ns), np.int64)
    tables = np.empty((STAGES, 3, len(arrival_ns)), np.int64)
    delays = np.array(setting.delay_ns, np.int64)
    counts = _loop(
        arrival_ns,
        delays,
        setting.base_ns,
        setting.per_request_ns,
        setting.max_batch,
        ended_ns,
        tables,
    )
    batches = []
    for stage, count in enumerate(counts):
        dispatched_ns, finished_ns, end = tables[stage, :, :count]
        batches.append(Batches(dispatched_ns, finished_ns, np.diff(end, prepend=0)))
    return ended_ns, batches


@njit(cache=True)
def _first_batch(
    arrival_ns: Int64, start: int, delay_ns: int, cap: int, now_ns: int
) -> tuple[int, int]:
    """When the first stage, free from now on, sends its next batch, and the request after its last."""
    due_ns = arrival_ns[start] + delay_ns
    most = start + cap
    if most <= len(arrival_ns):
        due_ns = min(due_ns, arrival_ns[most - 1])
    due_ns = max(due_ns, now_ns)
    most = min(most, len(arrival_ns))
    end = start + 1
    while end < most and arrival_ns[end] <= due_ns:
        end += 1
    return due_ns, end


@njit(cache=True)
def _complete(
    ended_ns: Int64, end2: Int64, order: Int64, head: int, skip: int, size: int, done_ns: int
) -> tuple[int, int]:
    """Answer the first requests of the last queue; returns its new head and how much of that has left."""
    while size:
        batch = order[head]
        first = (end2[batch - 1] if batch else 0) + skip
        last = end2[batch]
        if last - first > size:
            last = first + size
            skip += size
        else:
            skip = 0
            head += 1
        size -= last - first
        for request in range(first, last):
            ended_ns[request] = done_ns
    return head, skip


@njit(
    "UniTuple(int64, 4)(int64[::1], int64[::1], int64, int64, int64, int64[::1], int64[:, :, ::1])",
    cache=True,
    nogil=True,
)
def _loop(
    arrival_ns: Int64,
    delay_ns: Int64,
    base_ns: int,
    per_request_ns: int,
    cap: int,
    ended_ns: Int64,
    tables: Int64,
) -> tuple[int, int, int, int]:
    """Fill ``ended_ns`` and, by stage, the rows dispatched, finished and requests sent so far.

    Returns how many batches each stage sent. A name's number is its stage; all times in nanoseconds.
    """
    sent0, done0, end0 = tables[0, 0], tables[0, 1], tables[0, 2]
    sent1, done1, end1 = tables[1, 0], tables[1, 1], tables[1, 2]
    sent2, done2, end2 = tables[2, 0], tables[2, 1], tables[2, 2]
    sent3, done3, end3 = tables[3, 0], tables[3, 1], tables[3, 2]
    total = len(arrival_ns)
    batches0 = batches1 = batches2 = batches3 = 0
    # Requests that have entered each queue, that have left it, and its head: a batch of its parent.
    in1 = in2 = in3 = out0 = out1 = out2 = out3 = head1 = head2 = head3 = 0
    # When the stage's only replica is done, while busy, else when its hold is over.
    next0 = next1 = next2 = next3 = NEVER_NS
    busy0 = busy1 = busy3 = False
    # The third stage's running batches by their end, and all that have ended, in that order.
    front, front_ns = np.zeros(RANKERS + 1, np.int64), np.full(RANKERS + 1, NEVER_NS, np.int64)
    running = ended2 = skip3 = 0
    order = np.empty(total, np.int64)
    now = 0
    while True:
        if not busy0 and out0 < total:
            sent0[batches0], end = _first_batch(arrival_ns, out0, delay_ns[0], cap, now)
            next0 = sent0[batches0] + base_ns + per_request_ns * (end - out0)
            done0[batches0], end0[batches0], out0 = next0, end, end
            batches0 += 1
            busy0 = True
        now = min(min(next0, next1), min(min(next2, front_ns[0]), next3))
        if now == NEVER_NS:
            return batches0, batches1, batches2, batches3
        # First all that is due now ...
        ask1 = ask2 = ask3 = False
        if next0 == now:
            in1, next0, busy0 = out0, NEVER_NS, False
            ask1 = not busy1
        if next1 == now:
            if busy1:
                in2, busy1 = out1, False
                ask2 = running < RANKERS
            ask1 = True
        while front_ns[0] == now:
            batch = front[0]
            order[ended2] = batch
            ended2 += 1
            in3 += end2[batch] - (end2[batch - 1] if batch else 0)
            running -= 1
            for i in range(RANKERS):
                front_ns[i] = front_ns[i + 1]
                front[i] = front[i + 1]
            ask2 = True
            ask3 = not busy3
        if next2 == now:
            ask2 = True
        if next3 == now:
            busy3 = False
            ask3 = True
        # ... then the decisions, downstream first.
        if ask3:
            next3 = NEVER_NS
            if out3 < in3:
                next3 = done2[order[head3]] + delay_ns[3]
                if in3 - out3 >= cap or now >= next3:
                    size = min(in3 - out3, cap)
                    out3 += size
                    next3 = now + base_ns + per_request_ns * size
                    sent3[batches3], done3[batches3], end3[batches3] = now, next3, out3
                    batches3 += 1
                    busy3 = True
                    head3, skip3 = _complete(ended_ns, end2, order, head3, skip3, size, next3)
        if ask2:
            next2 = NEVER_NS
            while running < RANKERS and out2 < in2:
                until = done1[head2] + delay_ns[2]
                if in2 - out2 < cap and now < until:
                    next2 = until
                    break
                size = min(in2 - out2, cap)
                out2 += size
                while head2 < batches1 and end1[head2] <= out2:
                    head2 += 1
                done = now + base_ns + per_request_ns * size
                sent2[batches2], done2[batches2], end2[batches2] = now, done, out2
                i = running
                while i > 0 and front_ns[i - 1] > done:
                    front_ns[i] = front_ns[i - 1]
                    front[i] = front[i - 1]
                    i -= 1
                front_ns[i] = done
                front[i] = batches2
                batches2 += 1
                running += 1
        if ask1:
            next1 = NEVER_NS
            if out1 < in1:
                next1 = done0[head1] + delay_ns[1]
                if in1 - out1 >= cap or now >= next1:
                    size = min(in1 - out1, cap)
                    out1 += size
                    while head1 < batches0 and end0[head1] <= out1:
                        head1 += 1
                    next1 = now + base_ns + per_request_ns * size
                    sent1[batches1], done1[batches1], end1[batches1] = now, next1, out1
                    batches1 += 1
                    busy1 = True
