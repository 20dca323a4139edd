"""The main job from end to end: train, profile, tune, run, compare with the prediction, report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import configs
from configs.model import Config
from delayline import tuning
from delayline.console import counts, progress, shares
from delayline.errors import CommandError
from delayline.loading import load_config
from delayline.real import Doing, brought_up, run_real, take_profile, with_policy
from delayline.runs import run_of, write_run
from delayline.training import steps
from delayline.tuned import Tuned, write_tuned
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.runlog import RunLog
from policies.workload import Workload
from reports.run import Run
from sim.columns import column_names
from sim.simulate import replay, simulate, workload_of

if TYPE_CHECKING:
    from executors.executor import Executor
    from executors.profiler import Profiled
    from executors.recommender.evaluation import Evaluation

PIPELINE = Path(configs.__file__).parent / "recommender.yaml"
LOAD = 0.5
"""Mean arrival rate, as a fraction of what the pipeline completes when saturated."""
SPELL_NS = 1_500_000_000
"""Mean length of a quiet or a busy spell of the generated arrivals."""
TIME_COLUMNS = ("timestamp", "time", "arrival", "arrived_at", "datetime", "date")
"""Names, in any case, under which a trace may hold its times."""

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


@dataclass(frozen=True, slots=True)
class Demo:
    """What came of it."""

    evaluation: Evaluation
    profiled: Profiled
    rate_hz: float
    tuned: Tuned
    real: Run
    predicted: Run
    replayed: Run
    unheld: Run
    """The same arrivals for real, with no hold at any stage."""
    report: Path


def run_demo(plan: DemoPlan, say: Say) -> Demo:
    """Do everything, each step told in a line. Raises what its steps raise."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    weights, evaluation = _train(plan, say)
    profile = plan.folder / "profile.json"
    config = _pipeline(plan, weights, profile)
    with ExitStack() as stack:
        say("profile: starting the workers, then measuring the stages at work")
        executor = stack.enter_context(brought_up(config))
        with progress("profiling", 100, quiet=plan.quiet) as advance:
            profiled = _profile(config, executor, profile, shares(advance))
        rate_hz = LOAD * profiled.capacity_hz
        say(
            f"profile: {profiled.capacity_hz:.0f} requests/s when saturated;"
            f" arrivals will come at {rate_hz:.0f}/s on average"
        )
        config = _with_arrivals(plan, config, rate_hz)
        tuned = _tune(plan, config, say)
        runs = _run(plan, tuned.best, executor, say)
    for what, run in runs.items():
        write_run(plan.folder / what, run)
    report = plan.folder / "report.html"
    _report(report, runs, say)
    return Demo(
        evaluation=evaluation,
        profiled=profiled,
        rate_hz=rate_hz,
        tuned=tuned,
        real=runs["real"],
        predicted=runs["predicted"],
        replayed=runs["replayed"],
        unheld=runs["real-without-holds"],
        report=report,
    )


def _train(plan: DemoPlan, say: Say) -> tuple[Path, Evaluation]:
    from executors.recommender.train import train_or_reuse

    source = "generated" if plan.interactions is None else plan.interactions.resolve().name
    out = plan.artifacts / f"recommender-{source}"
    say(f"train: a four-stage recommender on {source} interactions")
    with progress("training", 100, quiet=plan.quiet) as advance:
        result = train_or_reuse(plan.interactions, out, plan.seed, steps(advance))
    popular, full = (result.evaluation.of(name) for name in ("popularity", "rerank"))
    done = "weights were there already" if result.reused else f"took {result.elapsed_s:.0f} s"
    say(
        f"train: {done}; NDCG@10 {full.ndcg_10:.3f}, of popularity {popular.ndcg_10:.3f},"
        f" over {result.evaluation.users} held-out interactions"
    )
    return out, result.evaluation


def _pipeline(plan: DemoPlan, weights: Path, profile: Path) -> Config:
    """The shipped pipeline with these weights and this profile."""
    shipped = load_config(PIPELINE, [f"seed={plan.seed}", "name=demo"])
    sets = []
    for stage in shipped.stages:
        sets.append(f"stages.{stage.name}.model.path={weights.resolve()}")
        sets.append(f"stages.{stage.name}.service.path={profile.resolve()}")
    return load_config(PIPELINE, [f"seed={plan.seed}", "name=demo", *sets])


def _profile(config: Config, executor: Executor, path: Path, tell: Doing) -> Profiled:
    from executors.profiler import ProfilePlan

    return take_profile(config, executor, path, ProfilePlan(run_s=1.5), tell)


def _with_arrivals(plan: DemoPlan, config: Config, rate_hz: float) -> Config:
    """Arrivals at this mean rate: the trace's, squeezed or stretched, or ones that come in spells."""
    from sim.arrivals.mmpp import Mmpp
    from sim.arrivals.trace import Trace

    requests = max(1, round(rate_hz * plan.run_s))
    arrivals: Trace | Mmpp
    if plan.trace is None:
        arrivals = Mmpp(rates_hz=(0.6 * rate_hz, 1.4 * rate_hz), sojourn_ns=(SPELL_NS, SPELL_NS))
    else:
        arrivals = Trace(
            path=plan.trace.resolve(),
            column=plan.trace_column or _time_column(plan.trace),
            rate_hz=rate_hz,
            limit=requests,
            sort=True,
        )
    workload = replace(config.workload, arrivals=arrivals, requests=requests, duration_ns=None)
    return replace(config, workload=workload)


def _time_column(trace: Path) -> str:
    names = column_names(trace)
    for wanted in TIME_COLUMNS:
        for name in names:
            if name.lower() == wanted:
                return name
    raise CommandError(
        f"{trace}: no column is named like a time; name it with --trace-column, one of"
        f" {', '.join(names)}"
    )


def _tune(plan: DemoPlan, config: Config, say: Say) -> Tuned:
    """The holds that meet the objective at the least cost, found by simulation."""
    tuned = tuning.tune(config, trials=plan.trials, confirm=4, quiet=plan.quiet)
    target = plan.folder / "tuned.yaml"
    write_tuned(target, tuned)
    say(f"tune: {tuned.goal()}, {len(tuned.trials)} settings tried; {tuned.told()}")
    holds = ", ".join(
        f"{stage.name} {stage.policy.delay_ns / 1e6:.1f} ms"
        for stage in tuned.best.stages
        if isinstance(stage.policy, Fixed)
    )
    say(f"tune: holds of {holds}; written to {target}")
    return tuned


def _run(plan: DemoPlan, config: Config, executor: Executor, say: Say) -> dict[str, Run]:
    """The tuned setting for real, its prediction and its replay; and the same without holds."""
    workload = workload_of(config)
    if not isinstance(workload, Workload):
        raise TypeError("the demo's arrivals are open")
    unheld = with_policy(config, Immediate())
    logs: dict[str, RunLog] = {}
    for what, setting in (("real", config), ("real-without-holds", unheld)):
        say(f"run: {len(workload)} requests on torch, {what}")
        with progress("running", len(workload), quiet=plan.quiet) as advance:
            logs[what] = run_real(setting, executor, workload=workload, progress=counts(advance))
        if logs[what].info.get("interrupted"):
            raise KeyboardInterrupt
    logs["predicted"] = simulate(config, workload=workload)
    logs["replayed"] = replay(config, logs["real"])
    return {
        what: replace(run_of(unheld if what == "real-without-holds" else config, log), name=what)
        for what, log in logs.items()
    }


def _report(target: Path, runs: dict[str, Run], say: Say) -> None:
    from reports.html import write_report

    write_report(
        target, [runs["real"], runs["predicted"], runs["replayed"], runs["real-without-holds"]]
    )
    say(f"report: {target}")
