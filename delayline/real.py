"""The real half of the front door: pipelines on torch workers, and how far runs lie from simulations.

What is slow to import (torch) is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from configs.model import Config
from configs.pipeline import pipeline_of
from delayline.errors import CommandError
from delayline.runs import run_of, write_run
from policies.contract import Policy
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.pipeline import Pipeline
from policies.runlog import RunLog
from policies.workload import Workload
from reports.metrics import latencies_ns
from reports.run import Run
from reports.validation import Sample, Scenario
from sim.arrivals.base import ArrivalProcess
from sim.capacity import capacity_hz
from sim.service.profile import Profile
from sim.simulate import AnyWorkload, pipeline_for, replay, simulate, workload_of
from sim.workload import draw_workload

if TYPE_CHECKING:
    from executors.executor import Executor
    from executors.profiler import Profiled, ProfilePlan

NS_PER_S = 1_000_000_000

Ended = Callable[[int, int], None]
"""Told now and then how many requests have ended, of how many."""
Doing = Callable[[str, float], None]
"""Told what is being done, and how much of everything is, 0 to 1."""


@contextmanager
def brought_up(config: Config) -> Iterator[Executor]:
    """The configuration's models on workers. Batches may be as large as ``max_batch`` says."""
    from executors.deploy import executor_of

    with executor_of(config, _blind_pipeline(config)) as executor:
        yield executor


def run_real(
    config: Config,
    executor: Executor,
    *,
    workload: AnyWorkload | None = None,
    progress: Ended | None = None,
) -> RunLog:
    """Run a configuration on workers that are up; its policies may differ from those it came up with."""
    asked = workload_of(config) if workload is None else workload
    result = executor.run(
        asked,
        pipeline=pipeline_for(config, asked) if has_service(config) else _blind_pipeline(config),
        keep_answers=False,
        progress=progress,
        info={"name": config.name, "seed": config.seed},
    )
    return result.log


def has_service(config: Config) -> bool:
    """Whether every stage's service time is known; a profile that is yet to be taken is not."""
    return all(
        not isinstance(stage.service, Profile) or stage.service.path.exists()
        for stage in config.stages
    )


def _blind_pipeline(config: Config) -> Pipeline:
    """The pipeline with no prediction of service times: for bringing it up, and for measuring them."""
    return pipeline_of(config, lambda _: lambda _: 0)


def profile_path(config: Config) -> Path:
    """The file that all stages take their service times from. Raises CommandError for none, or two."""
    paths = {stage.service.path for stage in config.stages if isinstance(stage.service, Profile)}
    if len(paths) != 1:
        named = ", ".join(map(str, sorted(paths))) or "none"
        raise CommandError(
            f"stages take their service times from {named}; say which profile to write with --out FILE"
        )
    return paths.pop()


def with_profile(config: Config, path: Path) -> Config:
    """The configuration with every stage's service times taken from a profile."""
    stages = tuple(replace(stage, service=Profile(path=path)) for stage in config.stages)
    return replace(config, stages=stages)


def with_policy(config: Config, policy: Policy) -> Config:
    """The configuration with one policy at every stage."""
    stages = tuple(replace(stage, policy=policy) for stage in config.stages)
    return replace(config, stages=stages)


def open_arrivals(config: Config) -> ArrivalProcess:
    """The arrival process, which must be one whose rate can be set. Raises CommandError."""
    arrivals = config.workload.arrivals
    if not isinstance(arrivals, ArrivalProcess):
        raise CommandError(
            f"workload.arrivals is {arrivals.kind}: its rate follows the answers and cannot be set; "
            "use another kind"
        )
    return arrivals


def at_rate(
    config: Config,
    rate_hz: float,
    *,
    requests: int | None = None,
    duration_ns: int | None = None,
    replication: int = 0,
) -> Workload:
    """The configured workload with its arrivals scaled to a mean rate."""
    arrivals = open_arrivals(config)
    workload = draw_workload(
        arrivals.scaled(rate_hz / arrivals.mean_rate_hz()),
        config.workload.items,
        requests=requests,
        duration_ns=duration_ns,
        deadline_after_ns=config.workload.deadline_ns,
        priority_weights=config.workload.priorities,
        seed=config.seed,
        replication=replication,
    )
    if not isinstance(workload, Workload):
        raise TypeError("an arrival process made a closed workload")
    return workload


def take_profile(
    config: Config,
    executor: Executor,
    path: Path,
    plan: ProfilePlan | None = None,
    progress: Doing | None = None,
) -> Profiled:
    """Measure service times through the dispatcher, under the configured arrivals, into ``path``."""
    from configs.profile import save_profile
    from executors.profiler import profile_pipeline

    def workload_at(rate_hz: float, requests: int) -> Workload:
        return at_rate(config, rate_hz, requests=requests, replication=PROFILE_REPLICATION)

    profiled = profile_pipeline(
        executor, workload_at, plan=plan, name=config.name, progress=progress
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_profile(path, profiled.profile)
    return profiled


PROFILE_REPLICATION = 9_000
"""Replication whose arrivals a profile is taken under: none that a run is predicted for."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A scenario before it is run."""

    name: str
    load: float
    policy: Policy
    config: Config
    workload: Workload


def settings(config: Config, capacity: float) -> Sequence[Setting]:
    """The scenarios that ``validate`` asks for: each load with each hold."""
    found: list[Setting] = []
    for load in config.validate.loads:
        for hold_ns in config.validate.holds_ns:
            policy: Policy = Fixed(delay_ns=hold_ns) if hold_ns else Immediate()
            said = f"hold {hold_ns / 1e6:g} ms" if hold_ns else "no hold"
            workload = at_rate(
                config,
                load * capacity,
                duration_ns=config.validate.duration_ns,
                replication=len(found),
            )
            found.append(
                Setting(
                    f"load {load:g}, {said}", load, policy, with_policy(config, policy), workload
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class Validated:
    """A scenario and the runs behind it."""

    scenario: Scenario
    real: Run
    repeat: Run
    predicted: Run
    replayed: Run

    @property
    def interrupted(self) -> bool:
        """Ctrl-C ended a real run early, so that the scenario says nothing."""
        return any(run.log.info.get("interrupted") for run in (self.real, self.repeat))

    def record(self, folder: Path) -> None:
        """Keep the four runs, a folder each. Raises RecordsError."""
        for what in ("real", "repeat", "predicted", "replayed"):
            write_run(folder / what, getattr(self, what))


def validate_one(setting: Setting, executor: Executor) -> Validated:
    """Run a setting twice for real, and simulate it twice: from the profile, and from what was measured."""
    config = setting.config
    real = run_real(config, executor, workload=setting.workload)
    repeat = run_real(config, executor, workload=setting.workload)
    logs = {
        "real": real,
        "repeat": repeat,
        "predicted": simulate(config, workload=setting.workload),
        "replayed": replay(config, real),
    }
    runs = {
        what: replace(run_of(config, log), name=f"{setting.name}, {what}")
        for what, log in logs.items()
    }
    samples = {what: Sample.of(latencies_ns(run.log, run.warmup_ns)) for what, run in runs.items()}
    label = setting.policy.kind
    if isinstance(setting.policy, Fixed):
        label = f"fixed {setting.policy.delay_ns / 1e6:g} ms"
    scenario = Scenario(name=setting.name, load=setting.load, policy=label, **samples)
    return Validated(scenario, **runs)


def throughput_bound(config: Config) -> float:
    """Requests a second that the profile says the pipeline can bear. Raises CommandError for no bound."""
    bound = capacity_hz(config)
    if bound == float("inf"):
        raise CommandError("no stage takes any time, so that no load can be set; give them service")
    return bound
