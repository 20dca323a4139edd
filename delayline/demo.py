"""The main job from end to end: train, profile, tune, run, compare with the prediction, report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import configs
from configs.knob_paths import with_knob
from configs.model import Config
from delayline import tuning
from delayline.console import counts, progress, shares
from delayline.demo_arrivals import at_mean_rate, demo_arrivals
from delayline.loading import load_config
from delayline.profiling import take_profile, with_profile
from delayline.real import brought_up
from delayline.runs import check_run_target, write_run
from delayline.scenarios import Setting, Validated, held_against, run_whole, with_policy
from delayline.training import steps
from delayline.tuned import Tuned, write_tuned
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.workload import Workload
from reports.run import Run
from reports.validation import Validation
from sim.arrivals.base import ArrivalProcess
from sim.simulate import workload_of

if TYPE_CHECKING:
    from executors.executor import Executor
    from executors.profiler import Profiled
    from executors.recommender.evaluation import Evaluation

PIPELINE = Path(configs.__file__).parent / "recommender.yaml"
LOAD = 0.35
"""Mean arrival rate, as a fraction of what the pipeline completes when saturated (with full batches,
which arrivals in spells do not make: busy spells come near the most that is served without holds).
"""
SPARE = 0.1
"""Part of the objective's latency that tuning leaves free: a real run is not its prediction."""
PROFILE_RUN_S = 1.5
CONFIRM = 4
RUNS = ("real", "predicted", "replayed", "real-without-holds")
"""What is recorded, a folder each."""
_FILES = ("profile.json", "tuned.yaml", "report.html")

Say = Callable[[str], None]
"""Told what is done, line by line."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What the demo works on, and how long."""

    interactions: Path | None
    """A MovieLens folder; None for generated interactions."""
    trace: Path | None
    """Recorded arrivals; None for a generated process that comes in spells."""
    trace_column: str | None
    folder: Path
    """Where the results go; the trained models are kept in ``artifacts``."""
    artifacts: Path
    run_s: float
    trials: int
    seed: int
    quiet: bool

    @property
    def source(self) -> str:
        """What the interactions go by."""
        return "generated" if self.interactions is None else self.interactions.resolve().name

    @property
    def weights(self) -> Path:
        """The folder of the trained models: for generated interactions that of ``delayline train``,
        which makes the same ones, and where the shipped configuration looks.
        """
        name = "recommender" if self.interactions is None else f"recommender-{self.source}"
        return self.artifacts / name


@dataclass(frozen=True, slots=True)
class Demo:
    """What came of it."""

    evaluation: Evaluation
    profiled: Profiled
    rate_hz: float
    tuned: Tuned
    held: Validated
    """The tuned setting for real, its prediction, its replay and its repeat."""
    unheld: Run
    """The same arrivals for real, with no hold at any stage."""
    report: Path


def run_demo(plan: DemoPlan, say: Say) -> Demo:
    """Do everything, each step told in a line. What is finished is kept when a later step fails.

    Raises what its steps raise, KeyboardInterrupt among them; RecordsError, TraceError and DataError come
    before anything takes long.
    """
    arrivals = demo_arrivals(plan.trace, plan.trace_column)
    for what in RUNS:
        check_run_target(plan.folder / what)
    weights, evaluation = _train(plan, say)
    _clear(plan.folder)
    profile = plan.folder / "profile.json"
    config = _pipeline(plan, weights, profile)
    with brought_up(config, quiet=plan.quiet) as executor:
        profiled = _profile(plan, config, executor, profile, say)
        rate_hz = LOAD * profiled.capacity_hz
        config = _with_arrivals(config, arrivals, rate_hz, plan.run_s)
        tuned = _tune(plan, config, say)
        held, unheld = _run(plan, tuned.best, executor, say)
    report = plan.folder / "report.html"
    _report(report, held, unheld)
    say(f"report: {report}")
    return Demo(evaluation, profiled, rate_hz, tuned, held, unheld, report)


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left: beside new results it would look like one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    for what in RUNS:
        if (folder / what).exists():
            shutil.rmtree(folder / what)


def _train(plan: DemoPlan, say: Say) -> tuple[Path, Evaluation]:
    from executors.recommender.train import train_or_reuse

    say(f"train: a recommender on {plan.source} interactions")
    with progress("training", 100, quiet=plan.quiet) as advance:
        result = train_or_reuse(plan.interactions, plan.weights, plan.seed, steps(advance))
    popular, full = (result.evaluation.of(name) for name in ("popularity", "chain"))
    done = "weights were there already" if result.reused else f"took {result.elapsed_s:.0f} s"
    say(
        f"train: {done}; NDCG@10 {full.ndcg_10:.3f}, of popularity {popular.ndcg_10:.3f},"
        f" over {result.evaluation.users} held-out interactions"
    )
    return plan.weights, result.evaluation


def _pipeline(plan: DemoPlan, weights: Path, profile: Path) -> Config:
    """The shipped pipeline with these weights and this profile."""
    config = with_profile(load_config(PIPELINE), profile.resolve())
    for stage in config.stages:
        config = with_knob(config, f"stages.{stage.name}.model.path", weights.resolve())
    return replace(config, name="demo", seed=plan.seed)


def _profile(plan: DemoPlan, config: Config, executor: Executor, path: Path, say: Say) -> Profiled:
    from executors.profiler import ProfilePlan

    say("profile: measuring the stages at work, at several loads and holds")
    with progress("profiling", 100, quiet=plan.quiet) as advance:
        asked = ProfilePlan(run_s=PROFILE_RUN_S)
        profiled = take_profile(config, executor, path, asked, shares(advance))
    if profiled.interrupted:
        raise KeyboardInterrupt
    say(
        f"profile: {profiled.capacity_hz:.0f} requests/s when saturated;"
        f" arrivals will come at {LOAD * profiled.capacity_hz:.0f}/s on average"
    )
    return profiled


def _with_arrivals(
    config: Config, arrivals: ArrivalProcess, rate_hz: float, run_s: float
) -> Config:
    """These arrivals at this mean rate, for so long."""
    requests = max(2, round(rate_hz * run_s))
    scaled = at_mean_rate(arrivals, rate_hz, requests)
    workload = replace(config.workload, arrivals=scaled, requests=requests, duration_ns=None)
    return replace(config, workload=workload)


def _tune(plan: DemoPlan, config: Config, say: Say) -> Tuned:
    """The holds that meet the objective at the least cost, found by simulation."""
    tighter = _with_less_latency(config)
    tuned = tuning.tune(tighter, trials=plan.trials, confirm=CONFIRM, quiet=plan.quiet)
    tuned = replace(tuned, config=config)
    target = plan.folder / "tuned.yaml"
    write_tuned(target, tuned)
    if tuned.confirmation is None:
        raise KeyboardInterrupt
    say(
        f"tune: {tuned.goal()} ({SPARE:.0%} under the objective),"
        f" {len(tuned.trials)} settings tried; {tuned.told()}"
    )
    holds = ", ".join(
        f"{stage.name} {stage.policy.delay_ns / 1e6:.1f} ms"
        for stage in tuned.best.stages
        if isinstance(stage.policy, Fixed)
    )
    say(f"tune: holds of {holds}; written to {target}")
    return tuned


def _with_less_latency(config: Config) -> Config:
    if config.objective is None:
        return config
    latency_ns = round((1 - SPARE) * config.objective.latency_ns)
    return replace(config, objective=replace(config.objective, latency_ns=latency_ns))


def _run(plan: DemoPlan, config: Config, executor: Executor, say: Say) -> tuple[Validated, Run]:
    """The tuned setting twice for real and twice simulated; and for real without holds."""
    workload = workload_of(config)
    if not isinstance(workload, Workload):
        raise TypeError("the demo's arrivals are open")

    def on_torch(config: Config, said: str) -> Run:
        say(f"run: {len(workload)} requests on torch, {said}")
        with progress("running", len(workload), quiet=plan.quiet) as advance:
            return run_whole(config, executor, workload, counts(advance))

    real = replace(on_torch(config, "with the tuned holds"), name="tuned, real")
    write_run(plan.folder / "real", real)
    repeat = on_torch(config, "once more, to see how far two real runs differ")
    held = held_against(Setting("tuned", LOAD, config, workload), real, repeat)
    write_run(plan.folder / "predicted", held.predicted)
    write_run(plan.folder / "replayed", held.replayed)
    unheld = replace(
        on_torch(with_policy(config, Immediate()), "without holds"), name="without holds, real"
    )
    write_run(plan.folder / "real-without-holds", unheld)
    return held, unheld


def _report(target: Path, held: Validated, unheld: Run) -> None:
    from reports.html import write_report

    runs = [held.real, held.predicted, held.replayed, unheld]
    write_report(target, runs, Validation((held.scenario,)))
