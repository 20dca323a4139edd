"""The arrays that the compiled driver works on, by name, and their types as numba knows them.

Everything that is one number a stage is a field of a record, everything else a flat array into which the
stage's record holds an offset (``..._at``) and a length (``..._n``). Request ids are 0 to n - 1 in order
of arrival; a stage is its index, in topological order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types

from policies.contract import NEVER_NS, NO_SIZE

NEVER = NEVER_NS
UNABLE = NEVER_NS
"""As ``wake_size``: no batch could start. Sizes of holds are cut to NO_SIZE, so that none is this."""
MOST_SIZE = NO_SIZE

FIFO, EDF, PRIORITY = 0, 1, 2
SEEN = 17
"""Integers of a view."""
DONE = 2**7 - 1
"""Bits of the count of branches that are done with a request at a join."""
SKIPPED = 2**7
"""One branch more that was skipped, counted above them."""
GONE = 2**14
"""From so much on, the request has gone on without some."""
LEVELS = 256
"""Places for the levels of a priority queue: every int8."""
MOST_STAGES = 62
"""Stages to be asked are the bits of one word."""

BY_MEAN, BY_RANK, BY_SCORE, GIVEN = 0, 1, 2, 3
"""How a stage's batches get their time: mean by size times noise, quantile at a rank,
time at a score, or as told."""

OVER, MORE, NONSENSE = 0, 1, 2
"""Why the loop returned: the run is over; tables are full and must grow; a rule's answer makes no sense."""

FULL, LATE, EXPIRED, FOREVER, GIVEN_UP, REFUSED, LEVEL_FULL = 0, 1, 2, 3, 4, 5, 6
"""Why a request was dropped: queue full, past its deadline on entry, in the queue; held for ever; shed by
the stage's policy; refused by its admission; its priority level full."""


def _record(ints: str, floats: str = "") -> np.dtype[np.void]:
    fields: list[Any] = [(name, np.int64) for name in ints.split()]
    fields += [(name, np.float64) for name in floats.split()]
    return np.dtype(fields)


RUN = _record(
    "now_ns requests cursor total ended dropped dirty heap_n forked sinks expire together unit_items"
    " deadline_mask closed clients sent think_n deadline_after_ns expiry_at finite short"
    " estimates ticking merges ends_ns window_ns first paced"
    " choose service_levels_n"
    " answer_stage answer_n answer_until_ns answer_size",
    "weight",
)
"""Scalars of the run."""

STAGE = _record(
    # What changes.
    "waiting waiting_items head tail newest oldest idle_n idle_since_ns last_dispatch_ns wake_size wake_ns"
    " batches sent_n left_n next_tick_ns entered busy_ns due_at skipped_n urgent"
    # What is set: the stage,
    " replicas max_batch max_items queue_bound discipline linked implicit guarded is_root parents"
    " always_ready plain sheds needed within_ns"
    " reads_estimates reads_deadlines reads_next_idle reads_head reads_newest reads_batch_oldest reads_urgent"
    # the limits of its queue,
    " leveled limits_at limits_n shortest_ns counts_at rivals"
    # its rules,
    " ask tick observe urgency admit degrade tick_ns levels_n skips_at skip_join"
    " by_request passed_at"
    # its service times,
    " form noisy paced padded by_items ranks_at places_n points_n pace_at pace_n mean_at"
    # and where its parts lie.
    " replica_at word_at word_n predict_at downstream_at state_at state_n ints_at ints_n floats_at floats_n"
    " gate_state_at gate_state_n gate_ints_at gate_ints_n gate_floats_at gate_floats_n"
    " brake_state_at brake_state_n brake_ints_at brake_ints_n brake_floats_at brake_floats_n costs_at"
    " child_at child_n device_at device_n entered_at link_at level_at missing_at pad_at"
    " lost_at lost_n gone_at gone_n",
    "rate_hz load pipeline_load per_item_ns base_ns per_request_ns growth lowest per_score",
)
"""A stage. ``ask``, ``tick``, ``observe``, ``urgency``, ``admit`` and ``degrade`` are addresses, 0 where
there is none; ``gate_...`` is where the admission's parts lie and ``brake_...`` those of the degradation,
as the policy's do; at ``costs_at`` of the floats are the costs of the levels, at ``skips_at`` of which,
where that is not 0, requests go on at the stage ``skip_join``; those of a stage ``by_request`` pass it by
at ``passed_at``; ``newest`` and ``oldest`` are the ends of the order of entry in a linked queue. At
``limits_at`` of the integers are, by level, the time in the queue, whether one is put off then, and the
bound; ``shortest_ns`` is the shortest of the times, NEVER where there is none. ``rivals`` are the bits of
the stages with which it contends for a device.
"""

REPLICA = _record("batch first requests dispatched_ns ended_ns on_device")
"""A replica; ``batch`` is -1 while it runs none, ``on_device`` -1 where it shares none."""

BATCH = np.dtype(
    [
        ("dispatched_ns", np.int64),
        ("finished_ns", np.int64),
        ("requests", np.int32),
        ("replica", np.int32),
        ("items", np.int64),
    ]
)
EVENT = _record("at_ns code")
"""An entry of a heap: ordered by time, then by code."""


class Board(NamedTuple):
    """All arrays of a run. 2-dimensional ones have a row a stage."""

    run: Any
    """RUN, one"""
    stages: Any
    """STAGE"""
    replicas: Any
    """REPLICA, stage by stage"""
    batches: Any
    """BATCH (stages, capacity)"""
    graded: Any
    """int8 (stages, capacity or 0): levels of the batches"""
    heap: Any
    """EVENT: running batches by end; the code is stage and batch number"""
    thinking: Any
    """EVENT: clients of a closed loop by when they will send; the code numbers the thought"""
    words: Any
    """int64: bits of the idle replicas"""
    free: Any
    """int64: free slots by device"""
    idle_on: Any
    """int64 (stages, devices): idle replicas of a stage on a device"""
    devices: Any
    """int64: the devices of each stage, each once"""
    children: Any
    """int64: the children of each stage"""
    arrival_ns: Any
    deadline_ns: Any
    """int64 by request; one element where all have the same"""
    items: Any
    priority: Any
    asked_items: Any
    """int64: in a closed loop, items by the number of the thought"""
    asked_priority: Any
    """int8: likewise"""
    think_ns: Any
    by_deadline: Any
    """int32: requests in order of deadline; empty where ids are in that order"""
    moved_ns: Any
    """int64: when a request entered the queue that it is in, by ``entered_at`` + request; in the end,
    when it ended, by request"""
    outcome: Any
    """int8 by request"""
    why: Any
    """int16 by request: reason code * 64 + stage"""
    sent: Any
    """int32 (stages, requests): requests in order of dispatch, followed by those that wait where the
    queue is not linked"""
    left: Any
    """int32 (stages, requests or 0): requests that left a linked queue without being sent"""
    skipped: Any
    """int32 (stages, requests or 0): those of them that went on without the stage"""
    skipped_ns: Any
    """int64, likewise: when"""
    links: Any
    """int32 (4, linked requests): next and previous in order of service, then of entry; -2: not here"""
    levels: Any
    """int32: the last request of each level in a priority queue, of those put off by itself"""
    counts: Any
    """int32: how many of each level wait in a limited queue"""
    put_off: Any
    """int8, by ``link_at`` + request: whether it is served behind the others of its level"""
    missing: Any
    """int16: at each join, parents that are DONE with a request and, above those bits, that were SKIPPED;
    GONE where it has gone on without one
    """
    giving: Any
    """int64: the stages that a join gives up (``lost_at``), the joins that give up a stage (``gone_at``)"""
    service_level: Any
    """int8 by request, where they have one"""
    stage_levels: Any
    """int64 (service levels, stages): the level of each stage"""
    branches_skipped: Any
    """int64 (service levels, stages): how many branches before each are skipped"""
    sinks_done: Any
    """int16 by request"""
    scratch: Any
    """int32 (2, requests)"""
    noise: Any
    """float64 (stages, capacity)"""
    pads: Any
    """int64: sizes that batches are padded to, by requests in a batch"""
    mean_ns: Any
    """float64: by requests in a batch, from 0"""
    ranks: Any
    """float64: what batches timed by rank need, see ``sim.compiled.service``"""
    predict_ns: Any
    """int64: the view's predictions, of the stage and downstream, by requests in a batch"""
    state: Any
    """int64: what the policies remember"""
    ints: Any
    """int64: knobs"""
    floats: Any
    """float64: knobs"""
    seen: Any
    """int64 (SEEN,): the view of which a rule made nonsense"""


def _array(dtype: Any, dims: int = 1) -> types.Array:
    return types.Array(dtype, dims, "C")


_I64, _I32, _I16, _I8 = types.int64, types.int32, types.int16, types.int8
_F64 = types.float64
_INTS = _array(_I64)
_FLOATS = _array(_F64)

_TYPES: dict[str, types.Type] = {
    "run": _array(from_dtype(RUN)),
    "stages": _array(from_dtype(STAGE)),
    "replicas": _array(from_dtype(REPLICA)),
    "batches": _array(from_dtype(BATCH), 2),
    "graded": _array(_I8, 2),
    "heap": _array(from_dtype(EVENT)),
    "thinking": _array(from_dtype(EVENT)),
    "idle_on": _array(_I64, 2),
    "priority": _array(_I8),
    "asked_priority": _array(_I8),
    "by_deadline": _array(_I32),
    "outcome": _array(_I8),
    "why": _array(_I16),
    "sent": _array(_I32, 2),
    "left": _array(_I32, 2),
    "skipped": _array(_I32, 2),
    "skipped_ns": _array(_I64, 2),
    "links": _array(_I32, 2),
    "levels": _array(_I32),
    "counts": _array(_I32),
    "put_off": _array(_I8),
    "missing": _array(_I16),
    "service_level": _array(_I8),
    "stage_levels": _array(_I64, 2),
    "branches_skipped": _array(_I64, 2),
    "sinks_done": _array(_I16),
    "scratch": _array(_I32, 2),
    "noise": _array(_F64, 2),
    "mean_ns": _FLOATS,
    "ranks": _FLOATS,
    "floats": _FLOATS,
}
ARRAYS = {name: _TYPES.get(name, _INTS) for name in Board._fields}
"""The type of each array."""

LOOP = _I64(_I64)
"""The loop over events: address of the board's table to OVER, MORE or NONSENSE."""
