"""Policies that stand for servers whose workers collect their own batches, and for Clipper: each point of a
rule pinned, with the place that says so.

Views are hand-picked where a point is one decision; where it is a run, a model of the server's own loop
(``tests/worker_models.py``) is the oracle, batch by batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.kinds  # noqa: F401
from configs.errors import ConfigError
from configs.load import parse_config
from configs.yaml_text import parse_yaml
from policies import bentoml
from policies.batch_log import empty_log, fit_line, log_batch
from policies.bentoml import BentoMl
from policies.clipper import Clipper
from policies.contract import NEVER_NS, Decision, Dispatch, Hold, Policy, View
from policies.litserve import LitServe
from policies.mosec import Mosec
from policies.pipeline import Pipeline, Stage
from policies.torchserve import TorchServe
from policies.workload import Workload
from sim.service.affine import Affine
from sim.simulate import run
from tests import worker_models
from tests.test_compiled import both

MANY = 5 * settings.get_profile(settings.get_current_profile_name()).max_examples
MS = 1_000_000
NOW_NS = 100 * MS


def view(waiting: int, age_ns: int = 0, *, max_batch: int = 8, **changes: Any) -> View:
    """``waiting`` requests, the oldest ``age_ns`` old, before one replica that has always been idle."""
    seen = View(
        waiting=waiting,
        sendable=min(waiting, max_batch),
        waiting_items=waiting,
        oldest_enqueued_ns=NOW_NS - age_ns,
        earliest_deadline_ns=NEVER_NS,
        idle_replicas=1,
        replicas=1,
        idle_since_ns=0,
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
        newest_enqueued_ns=NOW_NS - age_ns,
        downstream_ns=(0,) * (max_batch + 1),
        batch_oldest_ns=NEVER_NS,
        urgent=0,
    )
    return seen._replace(**changes)


def decided(policy: Policy, seen: View, state: list[int] | None = None) -> Decision:
    return policy.decide(seen, NOW_NS, policy.initial_state() if state is None else state)


# mosec. Source: mosecorg/mosec, src/protocol.rs (`get_batch`), mosec/server.py (`append_worker`).


def test_mosec_counts_from_the_first_receive_of_a_free_worker() -> None:
    """``get_batch``: ``receiver.recv()`` comes before ``timeout(wait_time, ...)`` begins to run."""
    policy = Mosec(max_wait_time_ns=10 * MS)
    assert decided(policy, view(3, 4 * MS)) == Hold(NOW_NS + 6 * MS, 8)
    assert decided(policy, view(3, 10 * MS)) == Dispatch(3)


def test_mosec_does_not_count_time_in_the_queue_of_a_busy_worker() -> None:
    """A worker calls ``get_batch`` again only after it has its answer (``read_message``)."""
    policy = Mosec(max_wait_time_ns=10 * MS)
    seen = view(3, 80 * MS, idle_since_ns=NOW_NS - MS)
    assert decided(policy, seen) == Hold(NOW_NS + 9 * MS, 8)


def test_mosec_sends_a_full_batch_at_once_and_keeps_the_rest() -> None:
    """``inner_batch``: ``ids.len() == limit`` ends it; ``get_batch_from_channel`` in its own tests."""
    policy = Mosec(max_wait_time_ns=10 * MS)
    assert decided(policy, view(8)) == Dispatch(8)
    assert decided(policy, view(19)) == Dispatch(8)
    assert decided(policy, view(1, max_batch=1)) == Dispatch(1)  # `batch_size > 1` or no wait


def test_mosec_takes_a_wait_of_zero_for_the_servers_own() -> None:
    """``append_worker``: "If not configure, will use the CLI argument `--wait` (default=10ms)"."""
    assert decided(Mosec(), view(1)) == Hold(NOW_NS + 10 * MS, 8)
    assert decided(Mosec(wait_ns=3 * MS), view(1)) == Hold(NOW_NS + 3 * MS, 8)
    assert decided(Mosec(wait_ns=0), view(5)) == Dispatch(
        5
    )  # a timeout of 0 still drains the channel
    assert decided(Mosec(2 * MS, wait_ns=9 * MS), view(1)) == Hold(NOW_NS + 2 * MS, 8)


# TorchServe. Source: pytorch/serve, frontend/server/.../wlm/Model.java (`pollInferJob`). Documentation:
# docs/batch_inference_with_ts.md. Issue 2478 asks for a wait from the request's own arrival instead.


def test_torchserve_counts_from_the_first_job_polled() -> None:
    """``begin = System.currentTimeMillis()`` follows the first ``poll``; issue 2478 tells the same."""
    policy = TorchServe(max_batch_delay_ns=50 * MS)
    assert decided(policy, view(3, 20 * MS)) == Hold(NOW_NS + 30 * MS, 8)
    seen = view(3, 90 * MS, idle_since_ns=NOW_NS - MS)
    assert decided(policy, seen) == Hold(NOW_NS + 49 * MS, 8)
    assert decided(policy, view(3, 50 * MS)) == Dispatch(3)
    assert decided(policy, view(12)) == Dispatch(8)


def test_torchserve_begins_the_next_batch_when_the_lock_is_free() -> None:
    """``lock.lockInterruptibly()``: of several idle workers one polls, the next when it has its batch."""
    policy = TorchServe(max_batch_delay_ns=50 * MS)
    seen = view(3, 20 * MS, idle_replicas=1, replicas=2, last_dispatch_ns=NOW_NS)
    assert decided(policy, seen) == Hold(NOW_NS + 50 * MS, 8)


def test_torchserve_without_delay_sends_two_at_most() -> None:
    """``if (maxDelay <= 0) break`` stands after the second job has been added."""
    policy = TorchServe(max_batch_delay_ns=0)
    assert [decided(policy, view(n)) for n in (1, 2, 3, 20)] == [
        Dispatch(1),
        Dispatch(2),
        Dispatch(2),
        Dispatch(2),
    ]
    assert decided(policy, view(5, max_batch=1)) == Dispatch(1)


def test_torchserve_waits_a_tenth_of_a_second_unless_told() -> None:
    """``maxBatchDelay = 100`` in the constructor of ``Model``."""
    assert decided(TorchServe(), view(1)) == Hold(NOW_NS + 100 * MS, 8)


# LitServe. Source: Lightning-AI/LitServe, src/litserve/loops/base.py (`collate_requests`).


def test_litserve_counts_from_entry_into_collate_requests_or_not() -> None:
    """``end_time = entered_at + batch_timeout`` is set before the first ``request_queue.get``."""
    policy = LitServe(batch_timeout_ns=10 * MS)
    seen = view(1, 0, idle_since_ns=NOW_NS - 7 * MS)
    assert decided(policy, seen) == Hold(NOW_NS + 3 * MS, 8)
    seen = view(3, 50 * MS, idle_since_ns=NOW_NS - 7 * MS)
    assert decided(policy, seen) == Hold(NOW_NS + 3 * MS, 8)


def test_litserve_enters_collate_again_where_a_window_stayed_empty() -> None:
    """``if not batches: continue`` in the loop; a window ends before its end (``monotonic() < end_time``)."""
    policy = LitServe(batch_timeout_ns=10 * MS)
    seen = view(1, 2 * MS, idle_since_ns=NOW_NS - 37 * MS)  # windows end at -27, -17, -7, +3
    assert decided(policy, seen) == Hold(NOW_NS + 3 * MS, 8)
    seen = view(1, 0, idle_since_ns=NOW_NS - 30 * MS)
    assert decided(policy, seen) == Hold(NOW_NS + 10 * MS, 8)


def test_litserve_sends_at_the_end_of_the_window_or_when_full() -> None:
    """``len(payloads) < max_batch_size``; what came before the window ends goes then."""
    policy = LitServe(batch_timeout_ns=10 * MS)
    assert decided(policy, view(2, 10 * MS, idle_since_ns=NOW_NS - 10 * MS)) == Dispatch(2)
    assert decided(policy, view(8, 1, idle_since_ns=NOW_NS)) == Dispatch(8)
    assert decided(policy, view(1, max_batch=1, idle_since_ns=NOW_NS)) == Dispatch(1)


def test_litserve_without_timeout_takes_what_is_there() -> None:
    """``if lit_api.batch_timeout == 0``: ``get_nowait`` until empty or full; the default."""
    assert decided(LitServe(), view(5)) == Dispatch(5)
    assert decided(LitServe(), view(11)) == Dispatch(8)


# Clipper. Crankshaw et al., NSDI 2017; increment, back-off and who may grow the cap from the prototype,
# `update_batch_size_aimd` in the Rust clipper server's batching.rs.


def after(policy: Clipper, *batches: tuple[int, int], max_batch: int = 64) -> int:
    """The cap after batches of (requests, service_ns)."""
    state = policy.initial_state()
    for requests, service_ns in batches:
        policy.observe(view(1, max_batch=max_batch), NOW_NS, state, requests, service_ns)
    return state[0]


def test_clipper_increases_additively_until_the_objective_is_exceeded() -> None:
    """4.3.1: "additively increase the batch size by a fixed amount until the latency to process a batch
    exceeds the latency objective": what just meets it does not exceed it.
    """
    policy = Clipper(latency_objective_ns=20 * MS)
    assert after(policy) == 1
    assert after(policy, (1, 5 * MS)) == 3
    assert after(policy, (1, 5 * MS), (3, 20 * MS)) == 5
    assert after(Clipper(20 * MS, increase=5), (1, MS), (6, MS)) == 11


def test_clipper_backs_off_by_a_tenth() -> None:
    """4.3.1: "a small multiplicative backoff, reducing the batch size by 10%"; floor, and never below 1."""
    late = 20 * MS + 1
    assert after(Clipper(20 * MS, initial=40), (40, late)) == 36
    assert after(Clipper(20 * MS, initial=40), (40, late), (36, late)) == 32
    assert after(Clipper(20 * MS, initial=40), (7, late)) == 36
    assert after(Clipper(20 * MS), (1, late)) == 1
    assert after(Clipper(20 * MS, initial=40, backoff=0.5), (40, late)) == 20


def test_clipper_learns_nothing_of_larger_batches_from_smaller_ones() -> None:
    """batching.rs: "only try to increase the batch size if we actually sent a batch of maximum size"."""
    policy = Clipper(20 * MS, initial=10)
    assert after(policy, (9, MS)) == 10
    assert after(policy, (10, MS)) == 12


def test_clipper_stays_within_the_stages_cap() -> None:
    assert after(Clipper(20 * MS, initial=7), (7, MS), (8, MS), max_batch=8) == 8


def test_clipper_sends_the_cap_and_delays_what_is_less() -> None:
    """4.3.2: the delay is of a batch that could be dispatched."""
    policy = Clipper(20 * MS, initial=4, batch_delay_ns=2 * MS)
    assert decided(policy, view(6)) == Dispatch(4)
    assert decided(policy, view(4)) == Dispatch(4)
    assert decided(policy, view(3, MS)) == Hold(NOW_NS + MS, 4)
    assert decided(policy, view(3, 30 * MS, idle_since_ns=NOW_NS)) == Hold(NOW_NS + 2 * MS, 4)
    assert decided(policy, view(3, 2 * MS)) == Dispatch(3)
    assert decided(Clipper(20 * MS, initial=4), view(3)) == Dispatch(3)


def test_clipper_finds_the_largest_batch_that_keeps_the_objective() -> None:
    """Under load, with 2 ms + 0.5 ms a request, 16 requests take the 10 ms that are allowed: the cap
    saws between what 10% less than just above it is and just above it.
    """
    arrival_ns = np.arange(20_000, dtype=np.int64) * 100_000
    stage = Stage("s", policy=Clipper(10 * MS), predict_ns=lambda n: n, max_batch=64)
    log = run(Pipeline((stage,)), [Cost(2 * MS, MS // 2)], Workload.of(arrival_ns), engine="simpy")
    sizes = log.stages[0].batches.requests[50:-1]
    assert set(sizes.tolist()) <= {14, 15, 16, 17, 18}
    assert sizes.max() > 16  # it probes
    assert 15 < sizes.mean() < 17


# BentoML. Source: bentoml/BentoML, src/bentoml/_internal/marshal/dispatcher.py.


def trained(policy: BentoMl, *, slope: int, intercept: int, wait: int) -> list[int]:
    """A state after the training, with a line and a mean wait."""
    state = policy.initial_state()
    state[bentoml.SENT] = bentoml.TRAINING
    state[bentoml.SLOPE], state[bentoml.INTERCEPT] = slope, intercept
    state[bentoml.WAIT] = wait
    return state


def test_bentoml_waits_while_the_next_request_is_worth_it() -> None:
    """``n * (wn + dt + a) <= wait * decay`` with ``dt`` 1 ms and ``decay`` 0.95, both ends included; the
    next look is a millisecond later.
    """
    policy = BentoMl(max_latency_ns=10**9)
    edge = trained(policy, slope=900_000, intercept=5 * MS, wait=2 * MS)  # 1.9 ms <= 0.95 * 2 ms
    assert decided(policy, view(1), edge) == Hold(NOW_NS + MS)
    over = trained(policy, slope=900_001, intercept=5 * MS, wait=2 * MS)
    assert decided(policy, view(1), over) == Dispatch(1)
    later = trained(policy, slope=0, intercept=0, wait=20 * MS)
    assert decided(policy, view(1, 18 * MS), later) == Hold(NOW_NS + MS)
    assert decided(policy, view(1, 19 * MS), later) == Dispatch(1)


def test_bentoml_multiplies_by_what_waits_and_sends_full_batches() -> None:
    """Many waiting requests make one more worth less; ``n < max_batch_size``."""
    policy = BentoMl(max_latency_ns=10**9)
    for waiting, sent in ((4, False), (5, True), (8, True), (30, True)):
        state = trained(policy, slope=0, intercept=0, wait=5 * MS)
        answer = decided(policy, view(waiting), state)
        assert answer == (Dispatch(min(waiting, 8)) if sent else Hold(NOW_NS + MS)), waiting


def test_bentoml_waits_no_longer_where_the_oldest_would_pass_the_bound() -> None:
    """``n > 1 and w0 + a * n + b >= max_latency``; there the source cancels the oldest, and the guide on
    micro-batching says that the batch is released. One alone is not asked.
    """
    policy = BentoMl(max_latency_ns=20 * MS)
    for age_ns, sent in ((9 * MS - 1, False), (9 * MS, True)):
        state = trained(policy, slope=3 * MS, intercept=5 * MS, wait=10**12)
        seen = view(2, age_ns, newest_enqueued_ns=NOW_NS, last_dispatch_ns=NOW_NS)
        assert isinstance(decided(policy, seen, state), Dispatch) == sent
    state = trained(policy, slope=3 * MS, intercept=5 * MS, wait=10**12)
    assert decided(policy, view(1, 100 * MS), state) == Hold(NOW_NS + MS)


def test_bentoml_looks_once_a_millisecond_from_the_first_request_on() -> None:
    """``asyncio.sleep(TICKET_INTERVAL)`` while the semaphore is locked: a worker that comes free is seen
    at the next look.
    """
    policy = BentoMl(max_latency_ns=10**9)
    state = trained(policy, slope=0, intercept=0, wait=0)
    seen = view(2, 10 * MS + 300_000, idle_since_ns=NOW_NS)
    assert decided(policy, seen, state) == Hold(NOW_NS + 700_000)
    left = view(2, 90 * MS, last_dispatch_ns=NOW_NS - 5 * MS, idle_since_ns=NOW_NS)
    assert decided(policy, left, state) == Dispatch(2)


def test_bentoml_starts_from_its_own_guess() -> None:
    """``Optimizer.__init__``: ``min(2, max_latency * 2 / 30)``, ``min(1, max_latency / 30)``, no wait."""
    state = BentoMl(max_latency_ns=3 * 10**9).initial_state()
    assert state[bentoml.SLOPE] == 200 * MS
    assert state[bentoml.INTERCEPT] == 100 * MS
    assert state[bentoml.WAIT] == 0
    state = BentoMl().initial_state()
    assert (state[bentoml.SLOPE], state[bentoml.INTERCEPT]) == (2_000 * MS, 1_000 * MS)


def test_bentoml_does_not_learn_from_a_batch_that_failed() -> None:
    """``log_outbound`` follows ``await self.callback(...)`` in the same ``try``. A batch that lost its
    replica and was sent again is none that the state knows by its start.
    """
    state = trained(BentoMl(), slope=0, intercept=0, wait=0)
    state[bentoml.FINISHED] = bentoml.SKIPPED
    assert decided(BentoMl(), view(3), state) == Dispatch(3)
    before = list(state)
    BentoMl().observe(view(1), NOW_NS + 9 * MS, state, 3, 5 * MS)
    assert state == before
    BentoMl().observe(view(1), NOW_NS + 5 * MS, state, 3, 5 * MS)
    assert state[bentoml.LOG] == 1


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(1, 10**9)), min_size=1, max_size=70))
def test_the_line_is_that_of_lstsq_on_the_last_fifty(batches: list[tuple[int, int]]) -> None:
    """``trigger_refresh``: ``np.linalg.lstsq`` of ``duration = a n + b`` on ``N_KEPT_SAMPLE`` batches."""
    state = empty_log()
    for requests, service_ns in batches:
        log_batch(state, 0, requests, service_ns, service_ns // 3)
    last = batches[-50:]
    x = [(n, 1) for n, _ in last]
    expected = np.linalg.lstsq(x, [ns for _, ns in last], rcond=None)[0]
    slope, intercept, wait = fit_line(state, 0)
    assert (slope, intercept) == pytest.approx(tuple(expected), rel=1e-6, abs=1e-3)
    assert wait == pytest.approx(np.mean([ns // 3 for _, ns in last]))


def test_batches_of_one_size_share_their_time_between_slope_and_intercept() -> None:
    """What ``lstsq`` makes of a rank of 1, and a dispatcher of nothing but single requests with it."""
    state = empty_log()
    for _ in range(5):
        log_batch(state, 0, 1, 8 * MS, 0)
    assert fit_line(state, 0)[:2] == (4 * MS, 4 * MS)


# Settings that a server would refuse.


def refused(policy: str, max_batch: int = 8) -> str:
    text = f"stages: [{{name: rank, service: 1ms, max_batch: {max_batch}, policy: {policy}}}]"
    with pytest.raises(ConfigError) as caught:
        parse_config(parse_yaml(text, "p.yaml"), file="p.yaml")
    return str(caught.value).removeprefix("p.yaml: stages.rank.")


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            # validate_int_ge(max_wait_time, "maximum wait time", 0)
            "{kind: mosec, max_wait_time: -1ms}",
            "policy.max_wait_time: must not be negative, but is -1ms",
        ),
        (
            # setMaxBatchDelay: "Invalid maxBatchDelay" below 0
            "{kind: torchserve, max_batch_delay: -1ms}",
            "policy.max_batch_delay: must not be negative, but is -1ms",
        ),
        (
            # "batch_timeout must be greater than or equal to 0"
            "{kind: litserve, batch_timeout: -1ms}",
            "policy.batch_timeout: must not be negative, but is -1ms",
        ),
        (
            # "batch_timeout must be less than request_timeout", which is 30 s
            "{kind: litserve, batch_timeout: 31s}",
            "policy.batch_timeout: must be at most 30s, not 31s",
        ),
        (
            # ensure_larger_than_zero for max_latency_ms
            "{kind: bentoml, max_latency: 0ms}",
            "policy.max_latency: must be more than 0ms, not 0ms",
        ),
        (
            "{kind: clipper, latency_objective: 10ms, backoff: 1}",
            "policy.backoff: must be less than 1, not 1",
        ),
        (
            "{kind: clipper, latency_objective: 10ms, initial: 9}",
            "policy: initial must be at most max_batch (8), not 9",
        ),
    ],
)
def test_settings_that_the_server_would_refuse_are_refused(policy: str, message: str) -> None:
    assert refused(policy) == message


def test_bentoml_refuses_to_batch_single_requests() -> None:
    """``max_batch_size: int = attrs.field(default=100, validator=attrs.validators.gt(1))``."""
    assert refused("bentoml", max_batch=1) == (
        "policy: bentoml needs a max_batch above 1, as BentoML's max_batch_size must be"
    )


# Whole runs.

ARRIVALS = st.lists(st.integers(1, 25), min_size=1, max_size=50).map(
    lambda gaps: np.cumsum(np.array(gaps, np.int64))
)
SERVICE = st.lists(st.integers(1, 60), min_size=1, max_size=20)
TIMES_NS = st.integers(1, 60)


class Listed:
    """Service times from a list, over and over."""

    paced = False

    def __init__(self, times_ns: list[int]) -> None:
        self._times = times_ns

    def of(self, batch: int, requests: int) -> int:
        return self._times[batch % len(self._times)] + requests

    def time_ns(self, batch: int, requests: int, items: int, rested_ns: int = -1) -> int:
        return self.of(batch, requests)


class Cost(Listed):
    """A part that every batch costs, and a part for each request."""

    def __init__(self, base_ns: int, per_request_ns: int) -> None:
        super().__init__([base_ns])
        self._per_request_ns = per_request_ns

    def of(self, batch: int, requests: int) -> int:
        return self._times[0] + self._per_request_ns * requests


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
@given(ARRIVALS, SERVICE, st.integers(1, 6), TIMES_NS)
def test_mosec_sends_what_its_workers_would(
    arrival_ns: Any, service: list[int], max_batch: int, wait_ns: int
) -> None:
    times = Listed(service)
    expected = worker_models.mosec(
        arrival_ns.tolist(), times.of, max_batch=max_batch, max_wait=wait_ns
    )
    assert expected == simulated(Mosec(wait_ns), arrival_ns, times, max_batch=max_batch)


@settings(max_examples=MANY)
@given(ARRIVALS, SERVICE, st.integers(1, 6), st.integers(0, 60), st.integers(1, 3))
def test_torchserve_sends_what_its_workers_would(
    arrival_ns: Any, service: list[int], max_batch: int, delay_ns: int, workers: int
) -> None:
    times = Listed(service)
    expected = worker_models.torchserve(
        arrival_ns.tolist(), workers, times.of, batch_size=max_batch, max_delay=delay_ns
    )
    policy = TorchServe(delay_ns)
    assert expected == simulated(policy, arrival_ns, times, max_batch=max_batch, replicas=workers)


@settings(max_examples=MANY)
@given(ARRIVALS, SERVICE, st.integers(1, 6), st.integers(0, 60))
def test_litserve_sends_what_its_worker_would(
    arrival_ns: Any, service: list[int], max_batch: int, timeout_ns: int
) -> None:
    """A batch of one goes at once: ``get_default_loop`` takes the loop without collate for it."""
    times = Listed(service)
    expected = worker_models.litserve(
        arrival_ns.tolist(), times.of, max_batch=max_batch, batch_timeout=timeout_ns
    )
    assert expected == simulated(LitServe(timeout_ns), arrival_ns, times, max_batch=max_batch)


BENTOML_CASES = pytest.mark.parametrize(
    ("rate_hz", "cost", "max_batch", "max_latency_ns"),
    [
        (300, Cost(2_000_003, 400_001), 16, 10**9),  # batches of one or two
        (1500, Cost(6_000_003, 50_001), 64, 10**9),  # it holds now and then
        (1500, Cost(6_000_003, 50_001), 64, 15 * MS),  # the bound ends waits
        (600, Cost(2_000_003, 400_001), 2, 10**9),  # the training is tried with two at most
    ],
)


def arrivals(rate_hz: int, seconds: int) -> Any:
    rng = np.random.default_rng(rate_hz)
    return np.cumsum(rng.exponential(1e9 / rate_hz, rate_hz * seconds)).astype(np.int64)


@BENTOML_CASES
def test_bentoml_sends_what_its_dispatcher_would(
    rate_hz: int, cost: Cost, max_batch: int, max_latency_ns: int
) -> None:
    """Batch by batch, training and fits every 5 s included."""
    arrival_ns = arrivals(rate_hz, 12)
    found = simulated(BentoMl(max_latency_ns), arrival_ns, cost, max_batch=max_batch)
    server = worker_models.Bentoml(
        arrival_ns.tolist(),
        cost.of,
        max_batch=max_batch,
        max_latency=max_latency_ns,
    )
    assert found == server.run()


@pytest.mark.parametrize("replicas", [1, 3])
def test_bentoml_compiles_to_the_same_where_it_learns(replicas: int) -> None:
    """The contract's pipelines are too short for fits."""
    policy = BentoMl(max_latency_ns=40 * MS)
    stage = Stage("s", policy=policy, predict_ns=lambda n: n, replicas=replicas, max_batch=32)
    model = Affine(base_ns=6 * MS, per_request_ns=50_000, cv=0.4)
    both(Pipeline((stage,)), [model], Workload.of(arrivals(1200, 12)))
