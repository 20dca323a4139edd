"""The hand-written loop is the pipeline it stands for: the same batches and answers, to the nanosecond."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim.kinds  # noqa: F401  (makes the kinds known)
from benchmarks import handwritten
from configs.load import load_config
from configs.model import Config
from policies.workload import Workload
from sim.simulate import simulate, workload_of

PIPELINE = Path(__file__).resolve().parents[1] / "configs" / "pipeline4.yaml"
STAGES = ("recall", "prerank", "rank", "rerank")


def pipeline4(*overrides: str) -> Config:
    return load_config(PIPELINE, overrides)


def assert_same(config: Config, workload: Workload) -> None:
    log = simulate(config, workload=workload)
    ended_ns, batches = handwritten.run(workload.arrival_ns, handwritten.setting_of(config))
    np.testing.assert_array_equal(ended_ns, log.requests.ended_ns)
    for stage, ours in zip(log.stages, batches, strict=True):
        np.testing.assert_array_equal(ours.dispatched_ns, stage.batches.dispatched_ns)
        np.testing.assert_array_equal(ours.finished_ns, stage.batches.finished_ns)
        np.testing.assert_array_equal(ours.requests, stage.batches.requests)


@pytest.mark.parametrize("rate_hz", [50, 5_000, 9_000, 14_000, 40_000])
@pytest.mark.parametrize("requests", [1, 33, 20_000])
def test_drawn_arrivals_at_light_load_and_beyond_capacity(requests: int, rate_hz: int) -> None:
    config = pipeline4(
        f"workload.requests={requests}", f"workload.arrivals.rate={rate_hz}/s", "seed=7"
    )
    workload = workload_of(config)
    assert isinstance(workload, Workload)
    assert_same(config, workload)


@given(
    gaps_us=st.lists(
        st.sampled_from([0, 0, 1, 50, 100, 1000, 2000, 7000]), min_size=1, max_size=300
    ),
    holds_us=st.tuples(*[st.sampled_from([0, 50, 1000, 2000, 3500]) for _ in STAGES]),
    max_batch=st.integers(1, 40),
    base_us=st.sampled_from([1, 50, 1000]),
)
def test_arrivals_and_ends_that_coincide(
    gaps_us: list[int], holds_us: tuple[int, ...], max_batch: int, base_us: int
) -> None:
    overrides = [
        f"stages.{name}.{knob}"
        for name, hold_us in zip(STAGES, holds_us, strict=True)
        for knob in (
            f"policy.delay={hold_us}us",
            f"max_batch={max_batch}",
            f"service.base={base_us}us",
        )
    ]
    arrival_ns = np.cumsum(gaps_us, dtype=np.int64) * 1000
    assert_same(pipeline4(*overrides), Workload.of(arrival_ns))


@pytest.mark.parametrize(
    "changes",
    [
        ["stages.rank.replicas=3"],
        ["stages.rank.max_batch=16"],
        ["stages.rank.policy.size=4"],
        ["stages.rank.policy={kind: immediate}"],
        ["stages.rank.service.base=2ms"],
        ["workload.deadline=10ms", "stages.rank.discipline=edf"],
        ["stages.rank.queue_bound=100"],
        ["workload.deadline=10ms", "workload.expire=true"],
    ],
    ids=lambda changes: changes[-1],
)
def test_another_pipeline_is_refused(changes: list[str]) -> None:
    with pytest.raises(ValueError, match="is not the pipeline that this loop is written for"):
        handwritten.setting_of(pipeline4(*changes))
