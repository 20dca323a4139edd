"""Generated pipelines whose stages look at keys, and workloads that have some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import simpy
from hypothesis import strategies as st

from policies.coalesce import Coalesce
from policies.hedge import Hedge
from policies.locality import Locality
from policies.pipeline import Pipeline
from policies.runlog import RunLog
from policies.workload import Workload
from sim.service_times import ReplayTimes
from sim.simpy_driver import SimpyDriver
from sim.simulate import run
from tests.pipeline_strategies import ARRIVALS, pipelines, workload_of

COALESCE = st.builds(Coalesce, in_flight=st.booleans())
LOCALITY = st.builds(
    Locality,
    cache=st.integers(1, 4),
    miss_ns=st.integers(0, 30),
    wait_ns=st.sampled_from([0, 5, 40]),
    look=st.sampled_from([1, 3, 256]),
)


@st.composite
def keyed_pipelines(
    draw: st.DrawFn,
    coalesce: st.SearchStrategy[Coalesce | None] = st.none() | COALESCE,  # noqa: B008
    locality: st.SearchStrategy[Locality | None] = st.none() | LOCALITY,  # noqa: B008
) -> Pipeline:
    """Any pipelines; some stages coalesce, some have locality, some hedge besides."""
    pipeline = draw(pipelines())
    hedges = st.sampled_from([None, None, Hedge(after_ns=15)])
    stages = tuple(
        replace(stage, coalesce=draw(coalesce), locality=draw(locality), hedge=draw(hedges))
        for stage in pipeline.stages
    )
    return replace(pipeline, stages=stages)


@st.composite
def keyed_workloads(draw: st.DrawFn, keys: int = 4) -> Workload:
    """A few requests about a few keys."""
    workload = workload_of(draw(ARRIVALS))
    n = len(workload)
    drawn = draw(st.lists(st.integers(1, keys), min_size=n, max_size=n))
    return replace(workload, keys=np.array(drawn, np.int64))


def simulated(
    pipeline: Pipeline,
    workload: Workload,
    seed: int,
    beside: Callable[[simpy.Environment, SimpyDriver], None] | None = None,
) -> RunLog:
    """A run whose batches take up to 40 ns, whatever is in them."""
    rng = np.random.default_rng(seed)
    times = [
        ReplayTimes(rng.integers(0, 40, 99), ReplayTimes(rng.integers(0, 40, 99)))
        for _ in pipeline.stages
    ]
    return run(pipeline, times, workload, beside=beside, engine="auto" if beside else "simpy")


def failing(pipeline: Pipeline, seed: int) -> Callable[[simpy.Environment, SimpyDriver], None]:
    """Replicas are lost at random times, and some come back."""

    def failures(env: simpy.Environment, driver: SimpyDriver) -> None:
        rng = np.random.default_rng(seed)

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

    return failures
