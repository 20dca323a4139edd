"""Workers that really die: killed from outside, by their own model, once or for good."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from executors.executor import Executor
from policies.immediate import Immediate
from policies.pipeline import Pipeline, Stage
from policies.runlog import Outcome
from policies.workload import Workload
from reports.invariants import check
from tests.executor_models import DIES, WIDTH, Linear

PIPELINE = Pipeline(
    (
        Stage("a", Immediate(), lambda n: 1_000_000, replicas=2, max_batch=4),
        Stage("b", Immediate(), lambda n: 1_000_000, max_batch=4, parents=("a",)),
    )
)
SOURCES = {"a": Linear("x", "y", work_s=0.004), "b": Linear("y", "z", factor=2.0)}


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def descriptors() -> set[str]:
    """What this process holds open that an executor might leave: memory, sockets, pipes."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with Executor(PIPELINE, SOURCES) as executor:
        yield executor
        pids = executor.worker_pids("a") + executor.worker_pids("b")
    assert not any(map(alive, pids))


ALONE = """
from executors.executor import Executor
from tests.executor_models import DIES
from tests.test_executor_failures import PIPELINE, SOURCES, descriptors, evenly, rows

before = descriptors()
with Executor(PIPELINE, SOURCES) as executor:
    inputs = rows(6)
    inputs["x"][2, 0] = DIES
    print(executor.run(evenly(6, 1_000_000), inputs).log.requests.outcome.tolist())
left = descriptors() - before
print([name for name in left if "memfd" in name or "socket" in name])
"""


def test_nothing_is_left_open() -> None:
    """In a process of its own: in this one, what other tests have imported opens sockets when it likes."""
    found = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=True, timeout=120
    )
    outcomes, left = found.stdout.splitlines()
    assert outcomes.count(str(int(Outcome.FAILED))) >= 1
    assert left == "[]"


def evenly(requests: int, gap_ns: int) -> Workload:
    return Workload.of(np.arange(requests, dtype=np.int64) * gap_ns)


def rows(count: int) -> dict[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    return {"x": np.arange(count * WIDTH, dtype=np.float32).reshape(count, WIDTH)}


def test_killed_workers_lose_no_request(executor: Executor) -> None:
    victims = [executor.worker_pids("a")[0], executor.worker_pids("b")[0]]
    killed = threading.Event()

    def kill(ended: int, total: int) -> None:
        if ended > 20 and not killed.is_set():
            killed.set()
            for pid in victims:
                os.kill(pid, signal.SIGKILL)

    result = executor.run(evenly(600, 2_000_000), rows(600), progress=kill)
    assert killed.is_set()
    assert check(result.log) == []
    outcome = result.log.requests.outcome
    assert len(outcome) == 600
    done = outcome == Outcome.COMPLETED
    # A batch is retried once, and each replica was killed once.
    assert done.all(), result.log.requests.reasons
    np.testing.assert_array_equal(result.answers["z"], 2 * rows(600)["x"])
    assert result.log.info["workers_lost"] == 2
    for stage in result.log.stages:
        assert [replica for replica, _, _ in stage.down] == [0]
        assert (stage.batches.attempt[stage.batches.lost] == 1).all()
    # The one replica of b came back: batches ran on it after it was lost.
    b = result.log.stages[1]
    assert b.batches.dispatched_ns.max() >= b.down[0][2]
    assert executor.worker_pids("b")[0] != victims[1]


def test_workers_leave_ctrl_c_to_their_owner(executor: Executor) -> None:
    pids = executor.worker_pids("a") + executor.worker_pids("b")
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    result = executor.run(evenly(10, 1_000_000), rows(10))
    assert (result.log.requests.outcome == Outcome.COMPLETED).all()
    assert executor.worker_pids("a") + executor.worker_pids("b") == pids
    assert result.log.stages[0].down == ()


def test_a_request_that_kills_every_worker_fails_and_the_others_do_not(executor: Executor) -> None:
    inputs = rows(40)
    inputs["x"][20, 0] = DIES
    result = executor.run(evenly(40, 10_000_000), inputs)
    assert check(result.log) == []
    failed = np.flatnonzero(result.log.requests.outcome == Outcome.FAILED).tolist()
    assert 20 in failed
    assert len(failed) <= PIPELINE.stages[0].max_batch
    reasons = {result.log.requests.reasons[request] for request in failed}
    assert reasons == {"stage a lost the replica of this batch twice"}
    a = result.log.stages[0]
    assert sorted(a.batches.attempt[a.batches.lost]) == [1, 2]


def test_a_worker_that_died_between_runs_is_replaced_in_the_next(executor: Executor) -> None:
    pid = executor.worker_pids("b")[0]
    os.kill(pid, signal.SIGKILL)
    while alive(pid) and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
    result = executor.run(evenly(10, 1_000_000), rows(10))
    assert check(result.log) == []
    assert (result.log.requests.outcome == Outcome.COMPLETED).all()
    assert executor.worker_pids("b")[0] != pid


def test_without_respawn_the_stage_that_has_lost_all_replicas_fails_its_requests() -> None:
    pipeline = Pipeline((Stage("only", Immediate(), lambda n: 1_000_000, max_batch=1),))
    inputs = rows(6)
    inputs["x"][2, 0] = DIES
    with Executor(pipeline, {"only": Linear()}, respawn=False) as executor:
        log = executor.run(evenly(6, 50_000_000), inputs).log
        assert check(log) == []
        assert log.requests.outcome.tolist() == [Outcome.COMPLETED] * 2 + [Outcome.FAILED] * 4
        assert set(log.requests.reasons.values()) == {"stage only has no replica left"}
        # Still so in the next run, and said at once.
        log = executor.run(evenly(2, 1_000_000), rows(2)).log
        assert log.requests.outcome.tolist() == [Outcome.FAILED] * 2
