"""The executor on real worker processes: answers, records, errors, Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from executors.executor import Executor
from executors.replica import WorkerError
from executors.session import ExecutorError, RequestFailedError
from executors.wiring import WiringError
from policies.contract import Decision, Dispatch, Policy, State, View
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.pipeline import Device, Pipeline, Stage
from policies.runlog import Outcome
from policies.workload import ClosedWorkload, Workload
from reports.invariants import check
from sim.simulate import replay_pipeline
from tests.executor_models import RAISES, WIDTH, Linear, Unloadable

MS = 1_000_000


def diamond(hold_ns: int = MS, max_batch: int = 8, queue_bound: int | None = None) -> Pipeline:
    """a feeds b and c, which d joins; b and c share a device of one slot."""

    def stage(name: str, *parents: str, device: str) -> Stage:
        return Stage(
            name,
            Fixed(delay_ns=hold_ns) if name == "a" else Immediate(),
            lambda n: 100_000 + n,
            max_batch=max_batch,
            device=(device,),
            parents=parents,
            queue_bound=queue_bound if name == "a" else None,
        )

    return Pipeline(
        (
            stage("a", device="trunk"),
            stage("b", "a", device="branches"),
            stage("c", "a", device="branches"),
            stage("d", "b", "c", device="trunk"),
        ),
        (Device("trunk", 1), Device("branches", 1)),
    )


SOURCES = {
    "a": Linear("x", "y", factor=2.0),
    "b": Linear("y", "left", offset=1.0),
    "c": Linear("y", "right", factor=3.0),
    "d": Linear("left", "answer", also="right"),
}


def poisson(rate_hz: float, requests: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    gaps = np.random.default_rng(7).exponential(1e9 / rate_hz, requests)
    return np.cumsum(gaps).astype(np.int64)


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with Executor(diamond(), SOURCES) as executor:
        yield executor


def rows(count: int) -> dict[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    return {"x": np.arange(count * WIDTH, dtype=np.float32).reshape(count, WIDTH)}


def test_a_replay_of_a_run_is_that_run(executor: Executor) -> None:
    """The simulator makes every decision that the executor made: nothing is scheduled in two ways."""
    log = executor.run(Workload.of(poisson(400, 300))).log
    replayed = replay_pipeline(executor.pipeline, log)
    np.testing.assert_array_equal(replayed.requests.ended_ns, log.requests.ended_ns)
    for mine, theirs in zip(replayed.stages, log.stages, strict=True):
        for column in ("batch", "replica", "requests", "dispatched_ns", "finished_ns"):
            np.testing.assert_array_equal(
                getattr(mine.batches, column), getattr(theirs.batches, column)
            )


def test_every_request_gets_its_own_answer(executor: Executor) -> None:
    result = executor.run(Workload.of(poisson(2000, 600)), rows(100))
    x = rows(100)["x"][np.arange(600) % 100]
    np.testing.assert_array_equal(result.answers["answer"], (2 * x + 1) + 6 * x)
    log = result.log
    assert check(log) == []
    assert (log.requests.outcome == Outcome.COMPLETED).all()
    np.testing.assert_array_equal(log.requests.arrival_ns, poisson(2000, 600))
    for stage in log.stages:
        assert stage.batches.requests.sum() == 600
    assert log.stages[0].batches.requests.max() > 1
    assert not result.interrupted


def test_the_run_says_how_well_it_kept_time(executor: Executor) -> None:
    log = executor.run(Workload.of(poisson(1000, 50))).log
    late = log.info["late_sends"]
    assert isinstance(late, dict)
    assert late["count"] == 50
    assert 0 < late["median_ns"] <= late["p99_ns"] <= late["max_ns"]
    worker = log.info["worker"]
    assert isinstance(worker, dict)
    assert set(worker) == {"a", "b", "c", "d"}
    for name, stage in zip(worker, log.stages, strict=True):
        seen = stage.batches.finished_ns - stage.batches.dispatched_ns
        measured = worker[name]
        assert measured["batches"] == len(seen)
        assert 0 < measured["compute_mean_ns"] < seen.mean()
        assert measured["overhead_mean_ns"] > 0


def test_a_closed_loop_never_has_more_under_way_than_clients(executor: Executor) -> None:
    clients, total = 5, 200
    workload = ClosedWorkload(
        clients,
        np.full(total, 100_000, np.int64),
        np.ones(total, np.int64),
        np.zeros(total, np.int8),
    )
    result = executor.run(workload, rows(total))
    log = result.log.requests
    assert check(result.log) == []
    assert (log.outcome == Outcome.COMPLETED).all()
    edges = sorted([(at, 1) for at in log.arrival_ns] + [(at, -1) for at in log.ended_ns])
    assert max(np.cumsum([step for _, step in edges])) == clients
    np.testing.assert_array_equal(result.answers["answer"], 8 * rows(total)["x"] + 1)


def test_requests_can_be_submitted_by_several_threads(executor: Executor) -> None:
    session = executor.serve()
    found: dict[int, float] = {}

    def client(first: int) -> None:
        futures = {
            k: session.submit({"x": np.full(WIDTH, k, np.float32)})
            for k in range(first, first + 20)
        }
        found.update({k: float(future.result(30)["answer"][0]) for k, future in futures.items()})

    threads = [threading.Thread(target=client, args=(first,)) for first in (0, 20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(ExecutorError, match="the executor is busy"):
        executor.run(Workload.of(poisson(1000, 1)))
    log = executor.finish()
    assert found == {k: 8 * k + 1 for k in range(60)}
    assert check(log) == []
    assert len(log.requests) == 60
    with pytest.raises(ExecutorError, match="the session is closed"):
        session.submit({"x": np.zeros(WIDTH, np.float32)})


def test_a_model_that_raises_fails_its_batch_and_lives_on(executor: Executor) -> None:
    pids = executor.worker_pids("a")
    inputs = rows(4)
    inputs["x"][1, 0] = RAISES
    one_by_one = diamond(hold_ns=0, max_batch=1)
    log = executor.run(Workload.of(poisson(500, 8)), inputs, pipeline=one_by_one).log
    assert check(log) == []
    failed = [1, 5]
    assert np.flatnonzero(log.requests.outcome == Outcome.FAILED).tolist() == failed
    reason = "stage a: the model raised ValueError: this row cannot be scored"
    assert log.requests.reasons == dict.fromkeys(failed, reason)
    assert executor.worker_pids("a") == pids
    session = executor.serve(pipeline=one_by_one)
    future = session.submit({"x": np.full(WIDTH, RAISES, np.float32)})
    with pytest.raises(RequestFailedError, match="failed: stage a: the model raised ValueError"):
        future.result(30)
    executor.finish()


@dataclass(frozen=True, slots=True)
class Greedy(Policy):
    """Sends more than there is, from the third request on."""

    kind: ClassVar[str] = "test-greedy"

    def decide(self, view: View, now_ns: int, state: State) -> Decision:
        return Dispatch(99 if view.waiting > 2 else view.sendable)


def test_a_policy_that_talks_nonsense_ends_the_run_and_not_the_executor(executor: Executor) -> None:
    stages = diamond().stages
    greedy = replace(diamond(), stages=(replace(stages[0], policy=Greedy()), *stages[1:]))
    burst = Workload.of(np.zeros(5, np.int64))
    with pytest.raises(
        ExecutorError, match="the dispatcher failed: stage a: the rule of policy Greedy"
    ):
        executor.run(burst, pipeline=greedy)
    session = executor.serve(pipeline=greedy)
    row = {"x": np.zeros(WIDTH, np.float32)}
    futures = []
    with pytest.raises(ExecutorError, match="the dispatcher failed"):  # noqa: PT012
        for _ in range(100_000):
            futures.append(session.submit(row))
    with pytest.raises(ExecutorError, match="the dispatcher failed"):
        futures[-1].result(30)
    with pytest.raises(ExecutorError, match="the dispatcher failed"):
        executor.finish()
    again = executor.run(burst)
    assert check(again.log) == []
    assert (again.log.requests.outcome == Outcome.COMPLETED).all()


def test_a_full_queue_sheds(executor: Executor) -> None:
    burst = Workload.of(np.zeros(30, np.int64))
    log = executor.run(burst, pipeline=diamond(hold_ns=20 * MS, queue_bound=5)).log
    assert check(log) == []
    assert (log.requests.outcome == Outcome.SHED).sum() == 25
    assert "queue of a" in log.requests.reasons[29]


def test_ctrl_c_keeps_what_was_sent(executor: Executor) -> None:
    last = 3_600_000_000_000
    workload = Workload.of(np.array([0, 0, 0, last], np.int64))

    raised = threading.Event()

    def interrupt(ended: int, total: int) -> None:
        assert total == 4
        if ended == 3 and not raised.is_set():
            raised.set()
            signal.raise_signal(signal.SIGINT)

    result = executor.run(workload, progress=interrupt)
    assert result.interrupted
    assert result.log.info["interrupted"] is True
    assert result.log.requests.outcome.tolist() == [Outcome.COMPLETED] * 3
    again = executor.run(Workload.of(np.zeros(3, np.int64)))
    assert (again.log.requests.outcome == Outcome.COMPLETED).all()


def test_ctrl_c_fails_what_does_not_end_in_time(executor: Executor) -> None:
    held = diamond(hold_ns=3_600_000_000_000)
    raised = threading.Event()

    def interrupt(ended: int, total: int) -> None:
        if not raised.is_set():
            raised.set()
            signal.raise_signal(signal.SIGINT)

    workload = Workload.of(np.zeros(3, np.int64))
    result = executor.run(workload, pipeline=held, progress=interrupt, drain_s=0.0)
    assert result.interrupted
    assert (result.log.requests.outcome == Outcome.FAILED).all()
    assert set(result.log.requests.reasons.values()) == {"interrupted, waiting at a"}


def test_a_run_must_fit_the_workers_that_are_up(executor: Executor) -> None:
    workload = Workload.of(np.zeros(1, np.int64))
    with pytest.raises(ExecutorError, match=r"stages\.a\.max_batch: .* hold batches of 8, not 9"):
        executor.run(workload, pipeline=diamond(max_batch=9))
    with pytest.raises(ExecutorError, match="must have the stages, replicas"):
        executor.run(workload, pipeline=Pipeline((Stage("a", Immediate(), lambda n: n),)))
    with pytest.raises(ValueError, match="inputs lack 'x', which the pipeline takes; given: z"):
        executor.run(workload, {"z": np.zeros((1, WIDTH), np.float32)})
    with pytest.raises(ExecutorError, match="use it as `with Executor"):
        Executor(diamond(), SOURCES).run(workload)
    with pytest.raises(ExecutorError, match="stage d has no model"):
        Executor(diamond(), {name: SOURCES[name] for name in "abc"})


def test_what_cannot_start_says_why_and_leaves_nothing() -> None:
    before = set(os.listdir("/proc/self/fd"))
    pipeline = Pipeline((Stage("rank", Immediate(), lambda n: n),))
    with (
        pytest.raises(WorkerError) as caught,
        Executor(pipeline, {"rank": Unloadable()}),
    ):
        pass
    assert str(caught.value) == (
        "stage rank: its model cannot be loaded: FileNotFoundError: no such weights: rank.safetensors"
    )
    with (
        pytest.raises(WiringError, match="takes 'b', which no stage before it puts out"),
        Executor(pipeline, {"rank": Linear("a", "y", also="b")}),
    ):
        pass
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1, (
        "the resource tracker's pipe at most"
    )
