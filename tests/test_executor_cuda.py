"""The executor on a GPU: the same answers as on cores, from pinned memory and streams."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
import torch

from executors.executor import Executor
from executors.placement import DevicePlacement, Placement
from executors.replica import WorkerError
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.pipeline import Device, Pipeline, Stage
from policies.runlog import Outcome
from policies.workload import Workload
from reports.invariants import check
from tests.executor_models import RAISES, WIDTH, Linear

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

PIPELINE = Pipeline(
    (
        Stage("a", Fixed(delay_ns=1_000_000), lambda n: 1, 2, max_batch=8, device=("gpu0",) * 2),
        Stage("b", Immediate(), lambda n: 1, max_batch=8, device=("gpu0",), parents=("a",)),
    ),
    (Device("gpu0", 2),),
)
SOURCES = {"a": Linear("x", "y", factor=2.0), "b": Linear("y", "z", offset=1.0)}


@needs_gpu
def test_a_gpu_gives_the_answers_of_a_cpu_and_survives_what_a_cpu_does() -> None:
    requests = 400
    inputs = {"x": np.arange(requests * WIDTH, dtype=np.float32).reshape(requests, WIDTH)}
    workload = Workload.of(np.arange(requests, dtype=np.int64) * 1_000_000)
    placement = Placement(devices={"gpu0": DevicePlacement(cuda=0)})
    with Executor(PIPELINE, SOURCES, placement=placement) as executor:
        result = executor.run(workload, inputs)
        assert check(result.log) == []
        np.testing.assert_array_equal(result.answers["z"], 2 * inputs["x"] + 1)
        worker = result.log.info["worker"]
        assert isinstance(worker, dict)
        for measured in worker.values():
            assert measured["compute_mean_ns"] > 0

        pid = executor.worker_pids("a")[0]
        killed = threading.Event()

        def kill(ended: int, total: int) -> None:
            if ended > 20 and not killed.is_set():
                killed.set()
                os.kill(pid, signal.SIGKILL)

        result = executor.run(workload, inputs, progress=kill)
        assert check(result.log) == []
        assert (result.log.requests.outcome == Outcome.COMPLETED).all()
        np.testing.assert_array_equal(result.answers["z"], 2 * inputs["x"] + 1)

        inputs["x"][7, 0] = RAISES
        result = executor.run(workload, inputs)
        assert check(result.log) == []
        assert "this row cannot be scored" in result.log.requests.reasons[7]


def test_a_gpu_that_is_not_there_is_named() -> None:
    gpus = torch.cuda.device_count()
    placement = Placement(devices={"gpu0": DevicePlacement(cuda=gpus)})
    with (
        pytest.raises(WorkerError) as caught,
        Executor(PIPELINE, SOURCES, placement=placement),
    ):
        pass
    assert str(caught.value) == (
        "stage a: its model cannot be loaded: "
        f"ValueError: there is no cuda:{gpus}; torch sees {gpus} GPUs here"
    )
