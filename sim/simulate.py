"""Simulate a pipeline: from a configuration, or from the parts; on either driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import simpy

from configs.model import Config, StageConfig
from configs.pipeline import Predict, pipeline_of, planned
from policies.pipeline import Pipeline, Stage
from policies.requests import RequestTable
from policies.runlog import BatchLog, Int64, RunLog
from policies.scheduler import Scheduler
from policies.workload import ClosedWorkload, Workload
from sim.arrivals.base import ArrivalProcess
from sim.backends.base import Backend
from sim.backends.choose import backend_for
from sim.engines import Engine, EngineError
from sim.service.base import ServiceModel
from sim.service.level_costs import with_level_costs
from sim.service.of_stage import model_of_stage
from sim.service_times import ModelTimes, ReplayTimes, ServiceTimes
from sim.simpy_driver import SimpyDriver
from sim.sources import ClosedSource, OpenSource, Source
from sim.streams import stream
from sim.workload import draw_workload

AnyWorkload = Workload | ClosedWorkload
Beside = Callable[[simpy.Environment, SimpyDriver], None]
"""Called before the run: may start SimPy processes of its own beside the pipeline."""


def simulate(
    config: Config,
    *,
    replication: int = 0,
    workload: AnyWorkload | None = None,
    beside: Beside | None = None,
    engine: Engine = "auto",
) -> RunLog:
    """One replication of a configuration. Its random numbers depend on the seed, the replication and
    the names of the parts, so that two settings of one pipeline meet the same arrivals and the same
    noise. ``workload`` replaces the configured one. See :func:`run` for ``engine``.
    """
    if workload is None:
        workload = workload_of(config, replication)
    pipeline = pipeline_for(config, workload)
    times = _times(config, pipeline, replication)
    info: dict[str, object] = {
        "name": config.name,
        "seed": config.seed,
        "replication": replication,
    }
    return run(pipeline, times, workload, info=info, beside=beside, engine=engine)


def _times(config: Config, pipeline: Pipeline, replication: int) -> list[ModelTimes]:
    """Those of a stage that hedges differ between the first and the second time: else it would be of
    no use.
    """

    def of(name: str, noise: str, again: ModelTimes | None = None) -> ModelTimes:
        rng = stream(config.seed, replication, f"service.{name}{noise}")
        return ModelTimes(model_of(config, name), rng, again)

    return [
        of(stage.name, "", of(stage.name, ".again") if stage.hedge else None)
        for stage in pipeline.stages
    ]


def model_of(config: Config, stage: str) -> ServiceModel:
    """A stage's service model on its device."""
    return model_of_stage(config, config.stage(stage))


def pipeline_for(config: Config, workload: AnyWorkload) -> Pipeline:
    """The pipeline as any driver runs it under this workload: predicted service times are the models'
    means, for requests of the workload's mean size, and each policy is fitted to its place.
    """
    mean_items = float(np.mean(workload.items)) if len(workload) else 1.0
    config = with_level_costs(config)

    def predict(stage: StageConfig) -> Predict:
        model = model_of(config, stage.name)

        def predict_ns(requests: int) -> int:
            if not requests:
                return 0
            return round(model.expected_ns(requests, round(requests * mean_items)))

        return predict_ns

    def cv(stage: StageConfig) -> float:
        full = stage.max_batch
        return model_of(config, stage.name).cv_of(full, round(full * mean_items))

    arrivals = config.workload.arrivals
    rate_hz = arrivals.mean_rate_hz() if isinstance(arrivals, ArrivalProcess) else None
    return planned(config, pipeline_of(config, predict), rate_hz=rate_hz, cv=cv)


def workload_of(config: Config, replication: int = 0) -> AnyWorkload:
    """The configured workload, as one replication draws it."""
    asked = config.workload
    return draw_workload(
        asked.arrivals,
        asked.items,
        asked.keys,
        requests=asked.requests,
        duration_ns=asked.duration_ns,
        deadline_after_ns=asked.deadline_ns,
        priority_weights=asked.priorities,
        seed=config.seed,
        replication=replication,
    )


def replications(
    config: Config, jobs: int = 1, *, backend: Backend | None = None, engine: Engine = "auto"
) -> Iterator[RunLog]:
    """All replications in order, on as many workers as ``jobs`` (-1: all cores), or on ``backend``."""
    with nullcontext(backend) if backend is not None else backend_for(config, jobs) as workers:
        yield from workers.map(partial(_replication, config, engine), range(config.replications))


def _replication(config: Config, engine: Engine, number: int) -> RunLog:
    return simulate(config, replication=number, engine=engine)


def replay(config: Config, log: RunLog) -> RunLog:
    """Simulate the scheduling of a run with the run's own arrivals and batch times: what differs is
    the driver alone.

    A request enters when the scheduler was told of it (a late send counts to its latency, in the run and
    here), and a batch takes from dispatch to when its end was learnt, by its number.
    """
    return replay_pipeline(pipeline_for(config, open_workload(log)), log, config.name)


def replay_pipeline(pipeline: Pipeline, log: RunLog, name: str = "") -> RunLog:
    """See :func:`replay`; exact where no replica was lost and no request dropped."""
    workload = replace(open_workload(log), arrival_ns=_entries_ns(log))
    pipeline = _as_measured(pipeline)
    measured = {stage.name: stage.batches for stage in log.stages}
    times: list[ServiceTimes] = []
    for stage in pipeline.stages:
        times.append(_replayed(measured[stage.name]))
    info: dict[str, object] = {"name": name, "replay": True}
    replayed = run(pipeline, times, workload, info=info)
    due = replace(replayed.requests, arrival_ns=log.requests.arrival_ns)
    return replace(replayed, requests=due)


def _as_measured(pipeline: Pipeline) -> Pipeline:
    """The pipeline with misses that cost nothing and levels that save nothing: measured times have both
    in.
    """

    def of(stage: Stage) -> Stage:
        levels = tuple(replace(level, cost=1.0) for level in stage.levels)
        locality = stage.locality and replace(stage.locality, miss_ns=0)
        return replace(stage, levels=levels, locality=locality)

    return replace(pipeline, stages=tuple(map(of, pipeline.stages)))


def _replayed(batches: BatchLog) -> ReplayTimes:
    """The times of a stage's batches by number, and of those that were sent again."""
    whole = ~batches.lost
    first, second = whole & (batches.attempt == 1), whole & (batches.attempt == 2)
    times_ns = batches.finished_ns - batches.dispatched_ns
    first_ns, again_ns = times_ns[first], times_ns[first].copy()
    number = batches.batch[second]
    there = number < len(again_ns)  # they are fewer where replicas were lost
    again_ns[number[there]] = times_ns[second][there]
    if not len(first_ns):
        return ReplayTimes(np.zeros(1, np.int64))  # it ran none, and will run none now
    return ReplayTimes(first_ns, ReplayTimes(again_ns))


def open_workload(log: RunLog) -> Workload:
    """The requests of a run as a workload."""
    requests = log.requests
    return Workload(
        requests.arrival_ns,
        requests.deadline_ns,
        requests.items,
        requests.priority,
        requests.keys,
    )


def _entries_ns(log: RunLog) -> Int64:
    """When each request entered its first queue; its arrival where it entered none."""
    entered_ns = log.requests.arrival_ns.copy()
    for stage in log.stages:
        if not stage.parents:
            visits = stage.visits.made()
            entered_ns[visits.request] = visits.enqueued_ns
    # Requests are numbered in order of arrival; a shed one was told of no later than the next.
    return np.maximum.accumulate(entered_ns)


def run(
    pipeline: Pipeline,
    times: Sequence[ServiceTimes],
    workload: AnyWorkload,
    *,
    info: dict[str, object] | None = None,
    beside: Beside | None = None,
    engine: Engine = "auto",
) -> RunLog:
    """Run a pipeline until every request has ended; ``times`` has one entry a stage, in order.

    ``engine`` is the driver: ``compiled`` where every part of the pipeline compiles, ``simpy`` for all
    that there is, ``auto`` for the first that can. Both give the same log, whose ``info`` says which ran
    and why. Raises EngineError where the compiled one is asked for and cannot.
    """
    why = _obstacle(pipeline, times, workload, beside, engine)
    if why is None:
        from sim.compiled import engine as compiled

        told = {**(info or {}), "engine": "compiled", "engine_reason": "every part compiles"}
        if engine == "compiled":
            told["engine_reason"] = "asked for"
        return compiled.run(pipeline, times, workload, told)  # type: ignore[arg-type]
    if engine == "compiled":
        raise EngineError(f"engine compiled cannot run this: {why}; leave engine out, or use simpy")
    env = simpy.Environment(0)
    scheduler, source = _source(pipeline, workload)
    driver = SimpyDriver(env, scheduler, times, source)
    if beside is not None:
        beside(env, driver)
    driver.run()
    told = {**(info or {}), "engine": "simpy", "engine_reason": why}
    return scheduler.log(int(env.now), told, over=True)


def engine_for(config: Config) -> tuple[Engine, str]:
    """The driver that ``auto`` takes for a configuration, and why."""
    workload = Workload.of(np.zeros(1, np.int64))
    pipeline = pipeline_for(config, workload)
    why = _obstacle(pipeline, _times(config, pipeline, 0), workload, None, "auto")
    return ("compiled", "every part compiles") if why is None else ("simpy", why)


def _obstacle(
    pipeline: Pipeline,
    times: Sequence[ServiceTimes],
    workload: AnyWorkload,
    beside: Beside | None,
    engine: Engine,
) -> str | None:
    """Why the reference driver is to run; None where the compiled one can."""
    if engine == "simpy":
        return "asked for"
    if beside is not None:
        return "a process runs beside the pipeline"
    if isinstance(workload, ClosedWorkload) and workload.keys is not None:
        return "the clients of a closed loop send keys"
    from sim.compiled.engine import obstacle

    return obstacle(pipeline, times, len(workload))


def _source(pipeline: Pipeline, workload: AnyWorkload) -> tuple[Scheduler, Source]:
    if isinstance(workload, ClosedWorkload):
        table = RequestTable()
        scheduler = Scheduler(pipeline, table)
        return scheduler, ClosedSource(scheduler, table, workload)
    scheduler = Scheduler(pipeline, RequestTable(workload))
    return scheduler, OpenSource(scheduler, workload)
