"""Policies that stand for a server: each point of its rule pinned, with the place that says so.

Views are hand-picked where a point is one decision; where it is a run, a model of the server's own
mechanism (``tests/server_models.py``) is the oracle, batch by batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.kinds  # noqa: F401
from configs.errors import ConfigError
from configs.load import parse_config
from configs.yaml_text import parse_yaml
from policies.contract import NEVER_NS, Decision, Dispatch, Hold, Policy, View
from policies.pipeline import Discipline, Pipeline, Stage
from policies.place import Place
from policies.ray_serve import LEAST_TICK_NS, LOOKS, RayServe
from policies.runlog import Outcome
from policies.tf_serving import Mixing, TfServing
from policies.triton import Triton, TritonQueue
from policies.workload import Workload
from sim.simulate import run
from tests import server_models

MANY = 5 * settings.get_profile(settings.get_current_profile_name()).max_examples
NOW_NS = 1_000


def view(waiting: int, age_ns: int = 0, *, max_batch: int = 8, **changes: Any) -> View:
    """``waiting`` requests, the oldest ``age_ns`` old, before one replica that has been idle since 900."""
    seen = View(
        waiting=waiting,
        sendable=min(waiting, max_batch),
        waiting_items=waiting,
        oldest_enqueued_ns=NOW_NS - age_ns,
        earliest_deadline_ns=NEVER_NS,
        idle_replicas=1,
        replicas=1,
        idle_since_ns=900,
        next_idle_ns=NEVER_NS,
        last_dispatch_ns=-1,
        max_batch=max_batch,
        arrival_rate_hz=0.0,
        load=0.0,
        pipeline_load=0.0,
        service_ns=(0,) * (max_batch + 1),
        head_arrival_ns=NEVER_NS,
        head_enqueued_ns=NOW_NS - age_ns,
        head_deadline_ns=NEVER_NS,
        newest_enqueued_ns=NEVER_NS,
        downstream_ns=(0,) * (max_batch + 1),
        batch_oldest_ns=NOW_NS - age_ns,
        urgent=waiting,
    )
    return seen._replace(**changes)


def decided(policy: Policy, seen: View) -> Decision:
    return policy.decide(seen, NOW_NS, policy.initial_state())


# Triton. Documentation: docs/user_guide/batcher.md in triton-inference-server/server ("Preferred Batch
# Sizes", "Delayed Batching"); source: src/dynamic_batch_scheduler.cc in triton-inference-server/core.


@pytest.mark.parametrize(
    ("waiting", "sent"), [(1, 1), (3, 3), (4, 4), (5, 4), (6, 6), (7, 6), (9, 6), (20, 6)]
)
def test_triton_without_a_delay_sends_the_largest_preferred_size_that_fits_or_all(
    waiting: int, sent: int
) -> None:
    """batcher.md, "Preferred Batch Sizes"; ``pending_batch_delay_ns_ == 0`` in ``GetDynamicBatch``."""
    policy = Triton(preferred_batch_size=(6, 4))
    assert decided(policy, view(waiting, age_ns=10**6)) == Dispatch(sent)


def test_triton_sends_a_preferred_size_at_once_and_holds_other_sizes_for_the_next() -> None:
    """batcher.md, "Delayed Batching"; ``next_preferred_batch_size_`` is the ``upper_bound`` of what waits."""
    policy = Triton(max_queue_delay_ns=100, preferred_batch_size=(6, 4))
    assert decided(policy, view(3, 99)) == Hold(NOW_NS + 1, 4)
    assert decided(policy, view(4, 99)) == Dispatch(4)
    assert decided(policy, view(5, 99)) == Dispatch(4)  # the fifth is the next batch's first
    assert decided(policy, view(7, 99)) == Dispatch(6)


@pytest.mark.parametrize(("waiting", "sent"), [(1, 1), (4, 4), (5, 5), (7, 7), (8, 8), (9, 8)])
def test_triton_sends_all_that_fits_once_the_delay_is_over(waiting: int, sent: int) -> None:
    """``GetDynamicBatch`` takes a preferred size only while ``!delay_is_exceeded``; afterwards the pending
    batch goes whole. batcher.md says "as is", and names the largest preferred size only without a delay.
    """
    policy = Triton(max_queue_delay_ns=100, preferred_batch_size=(4, 6))
    assert decided(policy, view(waiting, 100)) == Dispatch(sent)


def test_triton_counts_the_delay_from_entry_and_its_end_belongs_to_it() -> None:
    """``CaptureBatcherStartNs`` in ``Enqueue``; ``delay_ns >= pending_batch_delay_ns_``: time spent while
    instances were busy counts, and at the very instant the delay is over.
    """
    policy = Triton(max_queue_delay_ns=100)
    assert decided(policy, view(3, 99, idle_since_ns=NOW_NS)) == Hold(NOW_NS + 1, 8)
    assert decided(policy, view(3, 100, idle_since_ns=NOW_NS)) == Dispatch(3)


def test_triton_without_preferred_sizes_prefers_the_maximum() -> None:
    """``NormalizeModelConfig`` in src/model_config_utils.cc adds ``max_batch_size`` where there is none."""
    bare, spelled = (Triton(max_queue_delay_ns=100, preferred_batch_size=p) for p in ((), (8,)))
    for waiting in range(1, 20):
        for age_ns in (0, 99, 100, 500):
            assert decided(bare, view(waiting, age_ns)) == decided(spelled, view(waiting, age_ns))
    assert decided(bare, view(8, 0)) == Dispatch(8)
    assert decided(bare, view(7, 0)) == Hold(NOW_NS + 100, 8)


def test_triton_takes_preferred_sizes_in_any_order_and_twice() -> None:
    """``Create`` puts them into a ``std::set``."""
    for waiting in range(1, 12):
        one = decided(Triton(100, (2, 4, 6)), view(waiting))
        assert decided(Triton(100, (6, 2, 4, 2)), view(waiting)) == one


# TensorFlow Serving. Source: tensorflow/core/kernels/batching_util/shared_batch_scheduler.h.


def test_tf_serving_sends_a_full_batch_at_once_and_holds_any_other() -> None:
    """``PeekBatchPriorityImpl``: schedulable at ``max_execution_batch_size``, or at the timeout."""
    policy = TfServing(batch_timeout_ns=100)
    assert decided(policy, view(7, 40)) == Hold(NOW_NS + 60, 8)
    assert decided(policy, view(8, 40)) == Dispatch(8)
    assert decided(policy, view(11, 40)) == Dispatch(8)


def test_tf_serving_counts_from_the_first_requests_entry_and_the_end_belongs_to_it() -> None:
    """``open_batch_start_time_micros_`` is set when a task enters an empty batch, whatever the threads do;
    ``NowMicros() >= start + timeout``.
    """
    policy = TfServing(batch_timeout_ns=100)
    assert decided(policy, view(3, 99, idle_since_ns=NOW_NS)) == Hold(NOW_NS + 1, 8)
    assert decided(policy, view(3, 100, idle_since_ns=NOW_NS)) == Dispatch(3)


def test_tf_serving_closes_a_batch_that_the_next_request_does_not_fit_into() -> None:
    """``Schedule`` starts a new batch then, and ``ScheduleBatch`` gives away the closed one at once."""
    assert decided(TfServing(batch_timeout_ns=100), view(4, 0, sendable=3)) == Dispatch(3)


def test_tf_serving_holds_nothing_unless_told() -> None:
    """``batch_timeout_micros = 0`` in ``QueueOptions``."""
    assert decided(TfServing(), view(1)) == Dispatch(1)


# Ray Serve. Documentation: doc/source/serve/advanced-guides/dyn-req-batch.md; source:
# python/ray/serve/batching.py, `_BatchQueue.wait_for_batch`.


def test_ray_serve_counts_from_the_first_request_where_the_replica_is_idle() -> None:
    """dyn-req-batch.md: "once the first request arrives"."""
    policy = RayServe(batch_wait_timeout_ns=100)
    assert decided(policy, view(3, 40)) == Hold(NOW_NS + 60, 8)
    assert decided(policy, view(3, 100)) == Dispatch(3)


def test_ray_serve_counts_from_when_the_replica_was_free_where_the_request_was_there_before() -> (
    None
):
    """``batch_start_time`` is taken after ``queue.get()``, which follows the end of the batch before."""
    policy = RayServe(batch_wait_timeout_ns=100)
    assert decided(policy, view(3, 800, idle_since_ns=NOW_NS - 30)) == Hold(NOW_NS + 70, 8)
    assert decided(policy, view(8, 800, idle_since_ns=NOW_NS)) == Dispatch(8)


def test_ray_serve_begins_the_next_batch_when_the_one_before_is_sent() -> None:
    """The loop takes the next first request after the batch before; of several replicas that are idle,
    the second waits for a batch of its own.
    """
    policy = RayServe(batch_wait_timeout_ns=100)
    seen = view(3, 99, idle_since_ns=0, last_dispatch_ns=NOW_NS)
    assert decided(policy, seen) == Hold(NOW_NS + 100, 8)


def test_ray_serve_with_no_timeout_takes_what_waits() -> None:
    """``wait_for(..., 0)`` returns at once, and what is queued is added to the first."""
    assert decided(RayServe(0), view(5, 1)) == Dispatch(5)


# What a server would refuse: the same bounds, told as for any other knob.


def configured(policy: str) -> Policy:
    text = f"stages: [{{name: rank, service: 1ms, max_batch: 8, policy: {policy}}}]"
    return parse_config(parse_yaml(text, "p.yaml"), file="p.yaml").stages[0].policy


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            # ValidateModelConfig: "dynamic batching preferred size must be <= max batch size"
            "{kind: triton, preferred_batch_size: [4, 16]}",
            "policy: preferred_batch_size must be at most max_batch (8), not 16",
        ),
        (
            # ValidateModelConfig: "dynamic batching preferred size must be positive"
            "{kind: triton, preferred_batch_size: [4, 0]}",
            "policy.preferred_batch_size[1]: must be at least 1, not 0",
        ),
        (
            # a uint64 in model_config.proto
            "{kind: triton, max_queue_delay: -1us}",
            "policy.max_queue_delay: must not be negative, but is -1us",
        ),
        (
            "{kind: triton, preferred_batch_size: 4}",
            "policy.preferred_batch_size: must be a list, not 4",
        ),
        (
            # AddQueue: "batch_timeout_micros must be non-negative"
            "{kind: tf_serving, batch_timeout: -1ms}",
            "policy.batch_timeout: must not be negative, but is -1ms",
        ),
        (
            # _validate_batch_wait_timeout_s: "must be a float >= 0"
            "{kind: ray_serve, batch_wait_timeout: -10ms}",
            "policy.batch_wait_timeout: must not be negative, but is -10ms",
        ),
        ("ray_serve", "policy.batch_wait_timeout: is missing (longest wait for a batch to fill)"),
    ],
)
def test_settings_that_the_server_would_refuse_are_refused(policy: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(policy)
    assert str(caught.value) == f"p.yaml: stages.rank.{message}"


def test_settings_are_written_as_durations_and_lists() -> None:
    text = "{kind: triton, max_queue_delay: 100us, preferred_batch_size: [4, 8]}"
    assert configured(text) == Triton(100_000, (4, 8))
    assert configured("triton") == Triton(0, ())
    assert configured("{kind: tf_serving, batch_timeout: 1ms}") == TfServing(1_000_000)
    assert configured("{kind: ray_serve, batch_wait_timeout: 0.1s}") == RayServe(100_000_000)


# Whole runs.

ARRIVALS = st.lists(st.integers(0, 25), min_size=1, max_size=50).map(
    lambda gaps: np.cumsum(np.array(gaps, np.int64))
)
SERVICE = st.lists(st.integers(1, 60), min_size=1, max_size=20)
TIMES_NS = st.integers(0, 60)


class Listed:
    """Service times from a list, over and over."""

    paced = False

    def __init__(self, times_ns: list[int], per_request_ns: int = 1) -> None:
        self._times = times_ns
        self._per_request = per_request_ns

    def of(self, batch: int, requests: int) -> int:
        return self._times[batch % len(self._times)] + requests * self._per_request

    def time_ns(self, batch: int, requests: int, items: int, rested_ns: int = -1) -> int:
        return self.of(batch, requests)


def simulated(
    policy: Policy, arrival_ns: Any, times: Listed, *, max_batch: int, replicas: int = 1
) -> list[tuple[int, int]]:
    """(dispatched_ns, requests) of every batch."""
    stage = Stage(
        "s", policy=policy, predict_ns=lambda n: n, replicas=replicas, max_batch=max_batch
    )
    log = run(Pipeline((stage,)), [times], Workload.of(arrival_ns), engine="simpy")
    batches = log.stages[0].batches
    return list(zip(batches.dispatched_ns.tolist(), batches.requests.tolist(), strict=True))


@settings(max_examples=MANY)
@given(ARRIVALS, SERVICE, st.integers(1, 6), TIMES_NS, st.integers(1, 3))
def test_tf_serving_sends_what_open_and_closed_batches_would(
    arrival_ns: Any, service: list[int], max_batch: int, timeout_ns: int, threads: int
) -> None:
    times = Listed(service)
    expected = server_models.tf_serving(
        arrival_ns.tolist(), threads, times.of, max_batch=max_batch, timeout=timeout_ns
    )
    policy = TfServing(timeout_ns)
    assert expected == simulated(policy, arrival_ns, times, max_batch=max_batch, replicas=threads)


@settings(max_examples=MANY)
@given(ARRIVALS, SERVICE, st.integers(1, 6), TIMES_NS)
def test_ray_serve_sends_what_its_loop_would_where_a_batch_stops_it(
    arrival_ns: Any, service: list[int], max_batch: int, timeout_ns: int
) -> None:
    times = Listed(service)
    expected = server_models.ray_serve(
        arrival_ns.tolist(), times.of, max_batch=max_batch, timeout=timeout_ns, blocks=True
    )
    assert expected == simulated(RayServe(timeout_ns), arrival_ns, times, max_batch=max_batch)


@settings(max_examples=MANY)
@given(
    st.lists(st.integers(1, 25), min_size=1, max_size=50),
    SERVICE,
    st.integers(1, 6),
    st.integers(0, LOOKS),
)
def test_ray_serve_closes_batches_while_another_runs_where_its_function_awaits(
    gaps: list[int], service: list[int], max_batch: int, timeout: int
) -> None:
    """Exactly, where requests come one at a time and not between two looks at the queue."""
    arrivals = np.cumsum(gaps)
    looks = Listed([time * LEAST_TICK_NS for time in service], LEAST_TICK_NS)
    expected = server_models.ray_serve(
        arrivals.tolist(), Listed(service).of, max_batch=max_batch, timeout=timeout, blocks=False
    )
    policy = RayServe(timeout * LEAST_TICK_NS, blocks=False)
    found = simulated(policy, arrivals * LEAST_TICK_NS, looks, max_batch=max_batch)
    assert [(at * LEAST_TICK_NS, requests) for at, requests in expected] == found


@settings(max_examples=MANY)
@given(
    ARRIVALS,
    SERVICE,
    st.integers(1, 6),
    TIMES_NS,
    st.integers(1, 3),
    st.lists(st.integers(1, 6), max_size=3),
    st.sampled_from([0, 0, 5, 20, 50]),
)
def test_triton_sends_what_its_batcher_would(
    arrival_ns: Any,
    service: list[int],
    max_batch: int,
    delay_ns: int,
    instances: int,
    preferred: list[int],
    timeout_ns: int,
) -> None:
    times = Listed(service)
    sizes = tuple(size for size in preferred if size <= max_batch)
    server = server_models.Triton(
        instances,
        times.of,
        max_batch=max_batch,
        delay=delay_ns,
        preferred=sizes,
        ahead=False,
        timeout=timeout_ns,
    )
    policy = Triton(delay_ns, sizes, timeout_ns)
    found = simulated(policy, arrival_ns, times, max_batch=max_batch, replicas=instances)
    assert found == server.run(arrival_ns.tolist())


@settings(max_examples=MANY)
@given(ARRIVALS, SERVICE, st.integers(1, 6), TIMES_NS, st.integers(1, 3))
def test_triton_without_preferred_sizes_sends_the_same_where_payloads_are_made_ahead(
    arrival_ns: Any, service: list[int], max_batch: int, delay_ns: int, instances: int
) -> None:
    times = Listed(service)
    server = server_models.Triton(
        instances, times.of, max_batch=max_batch, delay=delay_ns, preferred=(), ahead=True
    )
    policy = Triton(delay_ns)
    found = simulated(policy, arrival_ns, times, max_batch=max_batch, replicas=instances)
    assert found == server.run(arrival_ns.tolist())


# Levels: who is in which batch, and who is turned away.

LEVELLED = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2)), min_size=1, max_size=40)
QUEUES = st.tuples(TIMES_NS, st.sampled_from(["reject", "delay"]), st.sampled_from([0, 0, 1, 4]))


def levelled(
    policy: Policy, arrivals: Any, times: Listed, *, max_batch: int, replicas: int, by: Discipline
) -> tuple[list[tuple[int, list[int]]], list[int]]:
    """(dispatched_ns, requests) of every batch, and who was shed."""
    stage = Stage(
        "s",
        policy=policy,
        predict_ns=lambda n: n,
        replicas=replicas,
        max_batch=max_batch,
        discipline=by,
        pad_to=(2, 4, 6),
    )
    gaps, levels = (np.array(column, np.int64) for column in zip(*arrivals, strict=True))
    arrival_ns = np.cumsum(gaps)
    never = np.full(len(gaps), NEVER_NS)
    workload = Workload(arrival_ns, never, np.ones(len(gaps), np.int64), levels.astype(np.int8))
    pipeline = Pipeline((stage,))
    planned = replace(stage, policy=policy.planned(Place(pipeline, 0)))
    log = run(Pipeline((planned,)), [times], workload, engine="simpy")
    batches, visits = log.stages[0].batches, log.stages[0].visits
    served = [
        (at_ns, visits.request[visits.row == row].tolist())
        for row, at_ns in enumerate(batches.dispatched_ns.tolist())
    ]
    return served, np.flatnonzero(log.requests.outcome == Outcome.SHED).tolist()


def _unbounded_where_it_rejects(timeout_ns: int, action: Any, bound: int) -> Any:
    return timeout_ns, action, 0 if timeout_ns and action == "reject" else bound


@settings(max_examples=MANY)
@given(
    LEVELLED,
    SERVICE,
    st.integers(1, 6),
    TIMES_NS,
    st.integers(1, 2),
    st.lists(st.integers(1, 6), max_size=3),
    st.tuples(QUEUES, QUEUES, QUEUES),
)
def test_triton_serves_levels_as_its_queues_do(
    arrivals: list[tuple[int, int]],
    service: list[int],
    max_batch: int,
    delay_ns: int,
    instances: int,
    preferred: list[int],
    queues: Any,
) -> None:
    """``PolicyQueue``: each level has its own timeout, action and size; what is delayed goes after the rest
    of its level and before the next, and is rejected no more.

    A level that a batch does not reach is not looked at there, and still full of who is to be rejected; newer
    releases look at all (``RejectTimeoutRequests``), as we do. So no level below the first has both.
    """
    queues = [queues[0], *(_unbounded_where_it_rejects(*queue) for queue in queues[1:])]
    times = Listed(service)
    sizes = tuple(size for size in preferred if size <= max_batch)
    served, _ = levelled(
        Triton(
            delay_ns, sizes, priority_queue_policy=tuple(TritonQueue(*queue) for queue in queues)
        ),
        arrivals,
        times,
        max_batch=max_batch,
        replicas=instances,
        by=Discipline.PRIORITY,
    )
    expected = server_models.triton_levels(
        np.cumsum([gap for gap, _ in arrivals]).tolist(),
        [level for _, level in arrivals],
        instances,
        times.of,
        max_batch=max_batch,
        delay=delay_ns,
        preferred=sizes,
        queues=[server_models.PolicyQueue(*queue) for queue in queues],
    )
    assert served == expected


@settings(max_examples=MANY)
@given(LEVELLED, SERVICE, st.integers(1, 6), TIMES_NS, QUEUES)
def test_triton_without_levels_has_one_queue(
    arrivals: list[tuple[int, int]],
    service: list[int],
    max_batch: int,
    delay_ns: int,
    queue: tuple[int, Any, int],
) -> None:
    times = Listed(service)
    policy = Triton(delay_ns, (), *queue)
    served, _ = levelled(
        policy, arrivals, times, max_batch=max_batch, replicas=1, by=Discipline.FIFO
    )
    expected = server_models.triton_levels(
        np.cumsum([gap for gap, _ in arrivals]).tolist(),
        [0] * len(arrivals),
        1,
        times.of,
        max_batch=max_batch,
        delay=delay_ns,
        preferred=(),
        queues=[server_models.PolicyQueue(*queue)],
    )
    assert served == expected


@settings(max_examples=MANY)
@given(
    LEVELLED,
    SERVICE,
    st.integers(2, 6),
    TIMES_NS,
    TIMES_NS,
    st.integers(1, 2),
    st.integers(1, 6),
    st.integers(1, 3),
    st.sampled_from(get_args(Mixing)),
)
def test_tf_serving_mixes_priorities_as_its_queues_do(
    arrivals: list[tuple[int, int]],
    service: list[int],
    max_batch: int,
    timeout_ns: int,
    low_timeout_ns: int,
    threads: int,
    low_max: int,
    low_batches: int,
    mixing: Mixing,
) -> None:
    """``ScheduleBatch``, ``GetLowPriorityTasksForPadding``, ``ScheduleLowPriorityBatch``, ``priority_merge``.
    (With that a timeout of the low below that of the high moves them into the open batch early.)
    """
    arrivals = [(gap, min(level, 1)) for gap, level in arrivals]
    low_max = min(low_max, max_batch)
    if mixing == "priority_merge":
        low_timeout_ns = max(low_timeout_ns, timeout_ns)
    times = Listed(service)
    expected = server_models.tf_serving_mixed(
        np.cumsum([gap for gap, _ in arrivals]).tolist(),
        [level > 0 for _, level in arrivals],
        threads,
        times.of,
        max_batch=max_batch,
        timeout=timeout_ns,
        low_max=low_max,
        low_timeout=low_timeout_ns,
        low_batches=low_batches,
        policy=mixing,
        allowed=[size for size in (2, 4) if size < max_batch] + [max_batch],
    )
    policy = TfServing(timeout_ns, low_max, low_timeout_ns, low_batches, mixing)
    found = levelled(
        policy, arrivals, times, max_batch=max_batch, replicas=threads, by=Discipline.PRIORITY
    )
    assert found == expected


def test_what_triton_delays_is_served_once_nothing_else_of_its_level_waits() -> None:
    """One that arrives later goes first, as long as it is in time; the delayed keeps its place before the
    next level.
    """
    policy = Triton(queue_timeout_ns=10, timeout_action="delay")
    arrivals = [(0, 0), (1, 0), (1, 1), (27, 0)]
    served, shed = levelled(
        policy, arrivals, Listed([30], 0), max_batch=1, replicas=1, by=Discipline.PRIORITY
    )
    assert [requests for _, requests in served] == [[0], [3], [1], [2]]
    assert not shed
