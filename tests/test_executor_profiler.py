"""The in-situ profiler on a real pipeline, and the way from a configuration to an executor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sim.kinds  # noqa: F401 - makes arrivals and services known to configurations
from configs.load import parse_config
from configs.pipeline import pipeline_of
from configs.profile import load_profile, save_profile
from executors.deploy import executor_of, placement_of
from executors.executor import Executor
from executors.placement import DevicePlacement, Placement
from executors.profiler import ProfilePlan, ProfilingError, profile_pipeline, throughput_hz
from executors.session import ExecutorError
from policies.contract import NEVER_NS
from policies.immediate import Immediate
from policies.pipeline import Device, Pipeline, Stage
from policies.workload import Workload
from tests.executor_models import RAISES, Linear
from tests.test_executor_properties import play

PIPELINE = Pipeline(
    (
        Stage("a", Immediate(), lambda n: 1, max_batch=8, device=("cpu0",), queue_bound=1),
        Stage("b", Immediate(), lambda n: 1, max_batch=4, device=("cpu0",), parents=("a",)),
    ),
    (Device("cpu0", 1),),
    expire=True,
)
SOURCES = {"a": Linear("x", "y", work_s=0.002), "b": Linear("y", "z", work_s=0.001)}


def poisson(rate_hz: float, requests: int) -> Workload:
    gaps = np.random.default_rng(3).exponential(1e9 / rate_hz, requests)
    return Workload.of(np.cumsum(gaps).astype(np.int64))


def test_a_profile_holds_every_batch_of_every_setting(tmp_path: Path) -> None:
    plan = ProfilePlan(loads=(0.3, 0.8), holds_ns=(0, 10_000_000), run_s=0.4, saturation_s=0.4)
    told: list[tuple[str, float]] = []
    with Executor(PIPELINE, SOURCES) as executor:
        profiled = profile_pipeline(
            executor,
            poisson,
            plan=plan,
            name="two stages",
            progress=lambda text, done: told.append((text, done)),
        )
        bad = {"x": np.full((1, 3), RAISES, np.float32)}
        with pytest.raises(ProfilingError, match=r"requests failed .* this row cannot be scored"):
            profile_pipeline(executor, poisson, plan=plan, inputs=bad)
        same = executor.fingerprint()
    profile = profiled.profile
    assert not profiled.interrupted
    # 8 requests take at least 2 ms at a and 2 x 1 ms at b, on one slot.
    assert 0 < profiled.capacity_hz < 2000
    assert [text for text, _ in told] == [
        "capacity",
        "load 0.3, immediate",
        "load 0.8, immediate",
        "load 0.3, fixed 10 ms",
        "load 0.8, fixed 10 ms",
        "done",
    ]
    done = [share for _, share in told]
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert profile.fingerprint == same
    for name, max_batch, least_ns in (("a", 8, 2_000_000), ("b", 4, 1_000_000)):
        runs = profile.stages[name]
        assert [run.load for run in runs] == [1.0, 0.3, 0.8, 0.3, 0.8]
        for run in runs:
            assert run.service_ns.min() >= least_ns
            assert run.requests.max() <= max_batch
        for run, load in zip(runs[1:], (0.3, 0.8, 0.3, 0.8), strict=True):
            assert run.requests.sum() == round(load * profiled.capacity_hz * plan.run_s)
        assert runs[0].requests.max() == max_batch
        assert runs[3].requests.mean() > runs[1].requests.mean()
    save_profile(tmp_path / "profile.json", profile)
    assert load_profile(tmp_path / "profile.json").stages["a"][0].requests.sum() > 0


def test_other_models_have_another_fingerprint() -> None:
    def fingerprint(sources: dict[str, Linear], pipeline: Pipeline = PIPELINE) -> str:
        return Executor(pipeline, sources).fingerprint()

    assert fingerprint(SOURCES) == fingerprint(dict(SOURCES))
    assert fingerprint(SOURCES) != fingerprint({**SOURCES, "b": Linear("y", "z")})
    larger = replace(
        PIPELINE, stages=(PIPELINE.stages[0], replace(PIPELINE.stages[1], max_batch=5))
    )
    assert fingerprint(SOURCES) != fingerprint(SOURCES, larger)


@pytest.mark.parametrize(
    ("knobs", "text"),
    [
        ({"loads": ()}, r"loads must hold values of 1e-06 or more, not \(\)"),
        ({"holds_ns": (0, -1)}, r"holds_ns must hold values of 0 or more, not \(0, -1\)"),
        ({"run_s": 0.0}, r"run_s must hold values of 0.001 or more, not \(0.0,\)"),
    ],
)
def test_a_plan_that_measures_nothing_is_refused(knobs: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ProfilePlan(**knobs)  # type: ignore[arg-type]


def test_throughput_is_that_of_the_settled_part() -> None:
    alone = Pipeline((Stage("s0", Immediate(), lambda n: n),))
    log = play(alone, [(100, NEVER_NS // 4, 1)] * 101, 0, 0.0).log
    assert throughput_hz(log) == pytest.approx(1e7, rel=0.02)


def test_a_configuration_says_where_things_run() -> None:
    config = parse_config(
        {
            "workload": {"arrivals": "100/s", "requests": 10},
            "devices": {"cpu0": {"slots": 2, "cores": [0]}, "gpu0": {"cuda": 1}},
            "dispatcher": {"cores": [0]},
            "stages": [{"name": "a", "device": "cpu0"}, {"name": "b", "device": "gpu0"}],
        }
    )
    assert placement_of(config) == Placement(
        (0,), {"cpu0": DevicePlacement((0,)), "gpu0": DevicePlacement(cuda=1)}
    )
    pipeline = pipeline_of(config, lambda stage: lambda n: n)
    with pytest.raises(ExecutorError, match=r"stages\.a\.model is missing"):
        executor_of(config, pipeline)
    stages = tuple(replace(stage, model=Linear()) for stage in config.stages)
    executor = executor_of(replace(config, stages=stages), pipeline)
    assert [place.torch_device for (place,) in executor.places.replicas] == ["cpu", "cuda:1"]
