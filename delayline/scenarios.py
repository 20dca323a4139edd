"""Scenarios: one pipeline at a load and a hold, run for real and held against its simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from configs.model import Config
from delayline.errors import CommandError
from delayline.profiling import with_profile
from delayline.rates import at_rate
from delayline.real import Ended, run_real
from delayline.runs import run_of
from policies.contract import Policy
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.workload import Workload
from reports.run import Run
from reports.totals import latencies_ns
from reports.validation import Sample, Scenario
from sim.capacity import capacity_hz
from sim.simulate import replay, simulate

if TYPE_CHECKING:
    from executors.executor import Executor


@dataclass(frozen=True, slots=True)
class Setting:
    """A scenario before it is run."""

    name: str
    load: float
    config: Config
    workload: Workload


@dataclass(frozen=True, slots=True)
class Validated:
    """A scenario and the runs behind it."""

    scenario: Scenario
    real: Run
    predicted: Run
    replayed: Run
    repeat: Run


def settings(config: Config) -> Sequence[Setting]:
    """What ``validate`` asks for: each load with each hold. Loads are fractions of the throughput bound
    that the service times imply.

    Raises CommandError for arrivals whose rate cannot be set, or stages that take no time, ProfileError
    for a profile that cannot be used.
    """
    bound_hz = capacity_hz(config)
    if bound_hz == float("inf"):
        raise CommandError("no stage takes any time, so that no load can be set; give them service")
    found: list[Setting] = []
    for load in config.validate.loads:
        for hold_ns in config.validate.holds_ns:
            policy: Policy = Fixed(delay_ns=hold_ns) if hold_ns else Immediate()
            found.append(
                Setting(
                    name=f"load {load:g}, {_said(hold_ns)}",
                    load=load,
                    config=with_policy(config, policy),
                    workload=at_rate(
                        config,
                        load * bound_hz,
                        duration_ns=config.validate.duration_ns,
                        replication=len(found),
                    ),
                )
            )
    return found


def _said(hold_ns: int) -> str:
    return f"hold {hold_ns / 1e6:g} ms" if hold_ns else "no hold"


def with_policy(config: Config, policy: Policy) -> Config:
    """The configuration with one policy at every stage."""
    stages = tuple(replace(stage, policy=policy) for stage in config.stages)
    return replace(config, stages=stages)


def predicted_from(setting: Setting, profile: Path) -> Setting:
    """The setting, its service times taken from another profile; its workload stays."""
    return replace(setting, config=with_profile(setting.config, profile))


def validate_one(setting: Setting, executor: Executor) -> Validated:
    """Run a setting twice for real, and hold it against its simulations.

    Raises KeyboardInterrupt where Ctrl-C ends a real run early: the scenario says nothing then.
    """
    real, repeat = (run_whole(setting.config, executor, setting.workload) for _ in range(2))
    return held_against(setting, real, repeat)


def run_whole(
    config: Config, executor: Executor, workload: Workload, told: Ended | None = None
) -> Run:
    """A real run. Raises KeyboardInterrupt where Ctrl-C ends it early."""
    log = run_real(config, executor, workload, told)
    if log.info.get("interrupted"):
        raise KeyboardInterrupt
    return run_of(config, log)


def held_against(setting: Setting, real: Run, repeat: Run) -> Validated:
    """A real run beside its prediction (from the configured service times), its replay (with its own
    arrivals and batch times) and its repeat.
    """
    config = setting.config
    runs = {
        "real": real,
        "predicted": run_of(config, simulate(config, workload=setting.workload)),
        "replayed": run_of(config, replay(config, real.log)),
        "repeat": repeat,
    }
    named = {what: replace(run, name=f"{setting.name}, {what}") for what, run in runs.items()}
    samples = {what: Sample.of(latencies_ns(run.log, run.warmup_ns)) for what, run in runs.items()}
    scenario = Scenario(setting.name, setting.load, _policies(config), **samples)
    return Validated(scenario, **named)


def _policies(config: Config) -> str:
    """The policies of all stages in a word or two."""
    kinds = dict.fromkeys(
        f"fixed {stage.policy.delay_ns / 1e6:.3g} ms"
        if isinstance(stage.policy, Fixed)
        else stage.policy.kind
        for stage in config.stages
    )
    return ", ".join(kinds)
