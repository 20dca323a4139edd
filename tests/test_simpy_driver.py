"""The reference driver: invariants, ties, and that bringing arrivals in chunks changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import idiomatic
from policies.commands import StartBatch
from policies.contract import NEVER_NS
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.pipeline import Device, Pipeline, Stage
from policies.runlog import Outcome, RunLog
from policies.scheduler import Scheduler
from policies.workload import ClosedWorkload, Workload
from reports.invariants import check
from sim.simpy_driver import SimpyDriver
from sim.simulate import Beside, run
from tests.pipeline_strategies import ARRIVALS, pipelines, predicted_ns, workload_of

MANY = 5 * settings.get_profile(settings.get_current_profile_name()).max_examples


class DrawnTimes:
    """Service times from a list, by batch number, with some zeros."""

    paced = False

    def __init__(self, seed: int) -> None:
        self._times = np.random.default_rng(seed).integers(0, 40, 500).tolist()

    def time_ns(self, batch: int, requests: int, items: int, rested_ns: int = -1) -> int:
        return int(self._times[batch % 500]) + items


class Affine:
    paced = False

    def __init__(self, base_ns: int, per_request_ns: int) -> None:
        self.base_ns, self.per_request_ns = base_ns, per_request_ns

    def time_ns(self, batch: int, requests: int, items: int, rested_ns: int = -1) -> int:
        return self.base_ns + self.per_request_ns * requests


def simulated(
    pipeline: Pipeline, workload: Workload, seed: int = 0, beside: Beside | None = None
) -> RunLog:
    times = [DrawnTimes(seed + k) for k in range(len(pipeline.stages))]
    return run(pipeline, times, workload, beside=beside)


def same(one: RunLog, other: RunLog) -> None:
    np.testing.assert_array_equal(one.requests.ended_ns, other.requests.ended_ns)
    np.testing.assert_array_equal(one.requests.outcome, other.requests.outcome)
    for a, b in zip(one.stages, other.stages, strict=True):
        for column in ("batch", "replica", "dispatched_ns", "finished_ns", "requests", "items"):
            np.testing.assert_array_equal(getattr(a.batches, column), getattr(b.batches, column))
        for column in ("request", "enqueued_ns", "row"):
            np.testing.assert_array_equal(getattr(a.visits, column), getattr(b.visits, column))


@settings(max_examples=MANY)
@given(pipelines(), ARRIVALS, st.integers(0, 2**16))
def test_every_run_keeps_the_invariants(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int
) -> None:
    log = simulated(pipeline, workload_of(arrivals), seed)
    assert check(log) == []
    assert Outcome.PENDING not in log.requests.outcome
    assert len(log.requests) == len(arrivals)


@settings(max_examples=MANY)
@given(pipelines(), ARRIVALS, st.integers(0, 2**16), st.integers(0, 2**16))
def test_lost_replicas_lose_no_request(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int, trouble: int
) -> None:
    def failures(env: simpy.Environment, driver: SimpyDriver) -> None:
        rng = np.random.default_rng(trouble)

        def fail() -> object:
            up = [(k, r) for k, s in enumerate(pipeline.stages) for r in range(s.replicas)]
            for _ in range(8):
                yield env.timeout(int(rng.integers(1, 60)))
                if not up:
                    return
                stage, replica = up.pop(int(rng.integers(len(up))))
                returns = bool(rng.integers(2))
                driver.lose(stage, replica, returns=returns)
                if returns:
                    yield env.timeout(int(rng.integers(1, 30)))
                    driver.restore(stage, replica)
                    up.append((stage, replica))

        env.process(fail())  # type: ignore[arg-type]

    log = simulated(pipeline, workload_of(arrivals), seed, failures)
    assert check(log) == []
    assert Outcome.PENDING not in log.requests.outcome


@settings(max_examples=MANY)
@given(pipelines(), ARRIVALS, st.integers(0, 2**16))
def test_bringing_arrivals_together_changes_nothing(
    pipeline: Pipeline, arrivals: list[tuple[int, int, int]], seed: int
) -> None:
    free = tuple(replace(stage, queue_bound=None, max_items=None) for stage in pipeline.stages)
    pipeline = replace(pipeline, stages=free, expire=False)
    together = simulated(pipeline, workload_of(arrivals), seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scheduler, "batches_arrivals", property(lambda _: False))
        one_by_one = simulated(pipeline, workload_of(arrivals), seed)
    same(together, one_by_one)


@settings(max_examples=40)
@given(
    st.integers(0, 2**16),
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(0, 3000)),
        min_size=1,
        max_size=4,
    ),
)
def test_completions_equal_those_of_a_process_per_request(
    seed: int, settings_: list[tuple[int, int, int]]
) -> None:
    # Odd service times and random arrivals: two events at one instant would be a coincidence, and the
    # textbook model leaves the order of those to chance.
    arrival_ns = np.sort(np.random.default_rng(seed).integers(0, 10**9, 300))
    stages = tuple(
        Stage(
            f"s{k}",
            Fixed(delay_ns=delay_us * 1000),
            predicted_ns,
            replicas=replicas,
            max_batch=max_batch,
            parents=(f"s{k - 1}",) if k else (),
        )
        for k, (replicas, max_batch, delay_us) in enumerate(settings_)
    )
    times = [Affine(1_000_003 + 70_001 * k, 50_021) for k in range(len(stages))]
    log = run(Pipeline(stages), times, Workload.of(arrival_ns))
    textbook = idiomatic.run(
        arrival_ns,
        [
            idiomatic.StageSetting(
                stage.replicas,
                stage.max_batch,
                delay_us * 1000,
                lambda n, t=t: t.time_ns(0, n, n),  # type: ignore[misc]
            )
            for stage, t, (_, _, delay_us) in zip(stages, times, settings_, strict=True)
        ],
    )
    assert log.requests.ended_ns.tolist() == textbook


def chain(*stages: Stage) -> tuple[Stage, ...]:
    return tuple(
        replace(stage, parents=(stages[k - 1].name,) if k else ()) for k, stage in enumerate(stages)
    )


def test_arrivals_at_an_instant_are_in_the_batch_that_it_sends() -> None:
    stage = Stage("s", Immediate(), predicted_ns, max_batch=4)
    # The first batch ends at 100, when three more arrive: they leave together.
    workload = Workload.of(np.array([0, 100, 100, 100], np.int64))
    log = run(Pipeline((stage,)), [Affine(100, 0)], workload)
    assert log.stages[0].batches.requests.tolist() == [1, 3]
    assert log.requests.ended_ns.tolist() == [100, 200, 200, 200]


def test_on_a_shared_slot_downstream_goes_first() -> None:
    first, second = chain(
        Stage("first", Immediate(), predicted_ns, max_batch=1, device=("d",)),
        Stage("second", Immediate(), predicted_ns, max_batch=1, device=("d",)),
    )
    pipeline = Pipeline((first, second), (Device("d", 1),))
    log = run(pipeline, [Affine(10, 0), Affine(10, 0)], Workload.of(np.zeros(2, np.int64)))
    assert log.requests.ended_ns.tolist() == [20, 40]


def test_a_hold_ends_exactly_at_its_time_and_at_its_size() -> None:
    stage = Stage("s", Fixed(delay_ns=50), predicted_ns, max_batch=3)
    workload = Workload.of(np.array([0, 10, 1000, 1010, 1020, 1025], np.int64))
    log = run(Pipeline((stage,)), [Affine(5, 0)], workload)
    batches = log.stages[0].batches
    assert batches.dispatched_ns.tolist() == [50, 1020, 1075]
    assert batches.requests.tolist() == [2, 3, 1]


def test_a_hold_like_the_one_before_it_still_ends_at_its_size() -> None:
    # Three arrive at 0 and two leave. The hold of the third has the time and the size of the hold that
    # has just ended, but one arrival fewer to wait for.
    stage = Stage("s", Fixed(delay_ns=100, size=2), predicted_ns, max_batch=2, replicas=3)
    other = Stage("t", Fixed(delay_ns=1000), predicted_ns, max_batch=8)
    workload = Workload.of(np.array([0, 50, 50, 60, 90], np.int64))
    log = run(Pipeline((stage, other)), [Affine(5, 0), Affine(5, 0)], workload)
    assert log.stages[0].batches.dispatched_ns.tolist() == [50, 60, 190]


def test_closed_loop_clients_wait_for_their_answers() -> None:
    stage = Stage("s", Immediate(), predicted_ns, max_batch=1)
    workload = ClosedWorkload(
        2, np.full(6, 7, np.int64), np.ones(6, np.int64), np.zeros(6, np.int8), 1000
    )
    log = run(Pipeline((stage,)), [Affine(10, 0)], workload)
    # Both send at 7; served at 17 and 27; each thinks for 7 more.
    assert log.requests.arrival_ns.tolist() == [7, 7, 24, 34, 44, 54]
    assert log.requests.ended_ns.tolist() == [17, 27, 37, 47, 57, 67]
    assert log.requests.deadline_ns.tolist() == [a + 1000 for a in (7, 7, 24, 34, 44, 54)]
    assert check(log) == []


def test_a_lost_batch_runs_again_on_another_replica_and_keeps_its_number() -> None:
    stage = Stage("s", Immediate(), predicted_ns, max_batch=2, replicas=2)

    def lose(env: simpy.Environment, driver: SimpyDriver) -> None:
        env.timeout(30).callbacks.append(lambda _: driver.lose(0, 0, returns=False))

    workload = Workload.of(np.array([0, 40], np.int64))
    log = run(Pipeline((stage,)), [Affine(100, 0)], workload, beside=lose)
    batches = log.stages[0].batches
    assert batches.batch.tolist() == [0, 0, 1]
    assert batches.attempt.tolist() == [1, 2, 1]
    assert batches.replica.tolist() == [0, 1, 1]
    assert batches.lost.tolist() == [True, False, False]
    assert log.requests.ended_ns.tolist() == [130, 230]
    assert log.stages[0].down == ((0, 30, 230),)


def test_a_replica_that_never_comes_back_fails_what_waits_for_it() -> None:
    stage = Stage("s", Immediate(), predicted_ns, max_batch=2)

    def lose(env: simpy.Environment, driver: SimpyDriver) -> None:
        env.timeout(30).callbacks.append(lambda _: driver.lose(0, 0, returns=True))

    log = run(Pipeline((stage,)), [Affine(100, 0)], Workload.of(np.zeros(1, np.int64)), beside=lose)
    assert log.requests.outcome.tolist() == [Outcome.FAILED]
    assert log.requests.reasons == {0: "no replica came back for it, waiting at s"}


def test_another_process_at_the_same_instant_does_not_stall_the_run() -> None:
    stage = Stage("s", Immediate(), predicted_ns, max_batch=1)
    seen: list[int] = []

    def beside(env: simpy.Environment, driver: SimpyDriver) -> None:
        def clock() -> object:
            while True:
                yield env.timeout(10)
                seen.append(int(env.now))

        env.process(clock())  # type: ignore[arg-type]

    workload = Workload.of(np.array([0, 10, 20], np.int64))
    log = run(Pipeline((stage,)), [Affine(10, 0)], workload, beside=beside)
    assert log.requests.ended_ns.tolist() == [10, 20, 30]
    assert seen[:2] == [10, 20]


def test_an_empty_workload_is_a_run_without_requests() -> None:
    stage = Stage("s", Immediate(), predicted_ns)
    log = run(Pipeline((stage,)), [Affine(10, 0)], Workload.of(np.zeros(0, np.int64)))
    assert len(log.requests) == 0
    assert log.end_ns == 0


def test_commands_sort_by_stage_then_batch() -> None:
    # The driver applies hand-overs of one instant in this order; ties between drivers rest on it.
    assert StartBatch._fields[:2] == ("stage", "batch")
    assert np.iinfo(np.int64).max == NEVER_NS
