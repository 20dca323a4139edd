"""Service times as they are at work: measured through the dispatcher, under the arrivals to come.

Timing a model's batches one after another misses what a loaded pipeline does to it (cold caches, the
way back to the dispatcher, a clock that changes) and under-predicts the tail by a third. So the real
pipeline runs at several loads and with several holds, which makes batches of many sizes, and every
batch's time is kept in order: from dispatch until the scheduler learnt of its end.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.profile import ProfileRun, ServiceProfile
from executors.executor import Executor
from executors.running import RunResult
from executors.widths import Width, alternating, measured_widths
from policies.contract import Policy
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.pipeline import Pipeline
from policies.runlog import BatchLog, Outcome, RunLog
from policies.workload import ClosedWorkload, Workload

WorkloadAt = Callable[[float, int], Workload]
"""Makes a workload of so many requests a second, so many requests long: the process to come."""

Progress = Callable[[str, float], None]
"""Called with what is being measured and how much of everything is done, 0 to 1."""

_MS_NS = 1_000_000
WIDTH_LOAD = 0.6
"""As a fraction of the capacity: batches of many sizes, and time between them."""
_SETTLE = (0.25, 0.9)
"""The part of a saturated run, by requests, whose throughput counts: filled, and not yet draining."""


class ProfilingError(RuntimeError):
    """The pipeline could not be measured; says why."""


@dataclass(frozen=True, slots=True)
class ProfilePlan:
    """What is run. Every load with every hold, each for ``run_s`` seconds of arrivals."""

    loads: tuple[float, ...] = (0.3, 0.6, 0.9)
    """Arrival rates as fractions of the capacity."""
    holds_ns: tuple[int, ...] = (0, 1 * _MS_NS, 4 * _MS_NS)
    """Fixed holds, the same at all stages; 0 sends at once."""
    run_s: float = 3.0
    saturation_s: float = 1.5
    """Length of the run that finds the capacity."""

    def __post_init__(self) -> None:
        """Raise ValueError, naming the knob, for a plan that measures nothing."""
        for name, values, least in (
            ("loads", self.loads, 1e-6),
            ("holds_ns", self.holds_ns, 0),
            ("run_s", (self.run_s,), 1e-3),
            ("saturation_s", (self.saturation_s,), 1e-3),
        ):
            if not values or min(values) < least:
                raise ValueError(f"{name} must hold values of {least} or more, not {values}")

    def settings(self) -> Iterator[tuple[float, int]]:
        """(load, hold) of each run; loads change fastest, so that slow drifts meet all of them."""
        for hold_ns in self.holds_ns:
            for load in self.loads:
                yield load, hold_ns


@dataclass(frozen=True, slots=True)
class Profiled:
    """A finished profile."""

    profile: ServiceProfile
    capacity_hz: float
    """Requests a second that the pipeline completes when requests never run out."""
    interrupted: bool
    """Ctrl-C ended it early: the profile holds the runs that were whole by then."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One of the runs that a profile is made of."""

    load: float
    hold_ns: int
    at_widths: bool = False
    """Every other batch of a stage is shown fewer candidates."""

    def __str__(self) -> str:
        hold = "immediate" if self.hold_ns == 0 else f"fixed {self.hold_ns / _MS_NS:g} ms"
        return f"{hold}, at two widths" if self.at_widths else hold

    def pipeline(self, bare: Pipeline, probes: Mapping[str, int]) -> Pipeline:
        """The pipeline as it is run."""
        policy = Fixed(delay_ns=self.hold_ns) if self.hold_ns else Immediate()
        return _with_policy(alternating(bare, probes) if self.at_widths else bare, policy)


def profile_pipeline(
    executor: Executor,
    workload_at: WorkloadAt,
    *,
    plan: ProfilePlan | None = None,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    name: str = "",
    fingerprint: str = "",
    widths: Mapping[str, Width] = MappingProxyType({}),
    progress: Progress | None = None,
) -> Profiled:
    """Measure the pipeline that ``executor`` has up.

    ``inputs`` are what requests carry (a sample by default). ``fingerprint`` tells the models apart from
    others; by default a digest of how they were configured. ``widths`` are of the stages that candidates
    come into; those that are shown fewer of them must be up with a level for it. Raises ProfilingError
    where nothing could be measured, KeyboardInterrupt where Ctrl-C came before the first run was over.
    """
    plan = plan or ProfilePlan()
    say = progress or (lambda text, done: None)
    bare = _bare(executor.pipeline)
    probes = {name: each.narrow for name, each in widths.items() if each.narrow is not None}
    settings = [_Run(load, hold_ns) for load, hold_ns in plan.settings()]
    if probes:
        settings += [_Run(WIDTH_LOAD, hold_ns, at_widths=True) for hold_ns in plan.holds_ns]
    total_s = plan.saturation_s + plan.run_s * len(settings)

    say("capacity", 0.0)
    saturated = _saturate(executor, bare, plan.saturation_s, inputs)
    if saturated.interrupted:
        raise KeyboardInterrupt
    capacity_hz = throughput_hz(saturated.log)
    runs = [_runs(saturated.log, 1.0, "immediate, saturated")]
    done_s, interrupted = plan.saturation_s, False
    narrowed: list[RunLog] = []
    for each in settings:
        say(f"load {each.load:g}, {each}", done_s / total_s)
        requests = max(1, round(each.load * capacity_hz * plan.run_s))
        result = executor.run(
            workload_at(each.load * capacity_hz, requests),
            inputs,
            pipeline=each.pipeline(bare, probes),
            keep_answers=False,
        )
        if result.interrupted:
            interrupted = True
            break
        if each.at_widths:
            narrowed.append(result.log)
        else:
            runs.append(_runs(result.log, each.load, str(each)))
        done_s += plan.run_s
    say("done", done_s / total_s)
    profile = ServiceProfile(
        pipeline=name,
        device=machine(),
        fingerprint=fingerprint or executor.fingerprint(),
        stages={stage.name: [run[stage.name] for run in runs] for stage in bare.stages},
        widths=measured_widths(narrowed, widths),
    )
    return Profiled(profile, capacity_hz, interrupted)


def throughput_hz(log: RunLog) -> float:
    """Requests a second in the settled part of a saturated run. Raises ProfilingError."""
    done = log.requests.outcome == Outcome.COMPLETED
    if not done.all():
        reason = next(iter(log.requests.reasons.values()), "unknown")
        raise ProfilingError(
            f"{(~done).sum()} of {len(done)} requests failed while the capacity was measured: {reason}"
        )
    ended_ns = np.sort(log.requests.ended_ns)
    first, last = (int(share * (len(ended_ns) - 1)) for share in _SETTLE)
    span_ns = int(ended_ns[last] - ended_ns[first])
    if span_ns == 0:
        # So short a run that its middle ended at once: all of it, from time 0.
        first, last, span_ns = 0, len(ended_ns), int(ended_ns[-1])
    return (last - first) * 1e9 / span_ns


def _saturate(
    executor: Executor,
    pipeline: Pipeline,
    seconds: float,
    inputs: Mapping[str, NDArray[Any]] | None,
) -> RunResult:
    """Keep every replica supplied with full batches for about so long."""
    clients = 2 * sum(stage.replicas * stage.max_batch for stage in pipeline.stages)
    requests = 4 * clients
    while True:
        workload = ClosedWorkload(
            clients,
            np.zeros(requests, np.int64),
            np.ones(requests, np.int64),
            np.zeros(requests, np.int8),
        )
        result = executor.run(workload, inputs, pipeline=pipeline, keep_answers=False)
        took_s = result.log.end_ns / 1e9
        if result.interrupted or took_s >= seconds / 2:
            return result
        requests = int(requests * min(2 * seconds / max(took_s, 1e-3), 50))


def _bare(pipeline: Pipeline) -> Pipeline:
    """The pipeline with nothing shed, expired, degraded or sent twice, every stage sending at once all that
    waits, whatever it is about.
    """
    stages = tuple(
        replace(
            stage,
            queue_bound=None,
            policy=Immediate(),
            hedge=None,
            coalesce=None,
            locality=None,
            degrade=None,
            by_request=False,
        )
        for stage in pipeline.stages
    )
    return replace(pipeline, stages=stages, expire=False, levels=(), degrade=None)


def _with_policy(pipeline: Pipeline, policy: Policy) -> Pipeline:
    stages = tuple(replace(stage, policy=policy) for stage in pipeline.stages)
    return replace(pipeline, stages=stages)


def _runs(log: RunLog, load: float, policy: str) -> dict[str, ProfileRun]:
    """Per stage, the batches that were served to their end."""
    runs = {}
    for stage in log.stages:
        batches = stage.batches
        whole = ~batches.lost
        runs[stage.name] = ProfileRun(
            load=load,
            policy=policy,
            requests=batches.requests[whole],
            items=batches.items[whole],
            service_ns=(batches.finished_ns - batches.dispatched_ns)[whole],
            rested_ns=rested_ns(batches)[whole],
        )
    return runs


def rested_ns(batches: BatchLog) -> NDArray[np.int64]:
    """For each batch how long its replica had been idle since the one before; -1 for its first."""
    rested = np.full(len(batches.replica), -1, np.int64)
    for replica in np.unique(batches.replica):
        mine = np.flatnonzero(batches.replica == replica)
        rested[mine[1:]] = batches.dispatched_ns[mine[1:]] - batches.finished_ns[mine[:-1]]
    return rested


def machine() -> str:
    """The machine in words: processor, cores, system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
