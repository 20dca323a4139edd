"""Plans on their models: those that the same workers can serve share them, one run a load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from configs.model import Config
from delayline.console import progress
from delayline.errors import CommandError
from delayline.plan_runs import Asked, Made, outcome_of
from delayline.plan_words import setting_of
from delayline.rates import at_rate
from delayline.real import brought_up, run_lists, run_real
from reports.plan_rows import Left, Memory, Served

if TYPE_CHECKING:
    from executors.executor import Executor

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class RealRuns:
    """What real runs came to."""

    rows: list[Served]
    left: list[Left]


def check_models(config: Config) -> None:
    """Raise CommandError where a stage has no model to run."""
    for stage in config.stages:
        if stage.model is None:
            raise CommandError(
                f"--real: stage {stage.name} has no model to run; leave --real out, or give it one"
            )


def run_plans(asked: Asked, made: Sequence[Made], run_s: float, *, quiet: bool) -> RealRuns:
    """Run what was made for each load, for ``run_s`` seconds; what cannot be run for real is left out."""
    left = [
        Left(each.plan.name, each.plan.simulated_only, real=True)
        for each in made
        if each.plan.simulated_only
    ]
    able = [each for each in made if not each.plan.simulated_only]
    rows: list[Served] = []
    for frame in dict.fromkeys(_frame(each.config) for each in able):
        served = [each for each in able if _frame(each.config) == frame]
        with (
            brought_up(_roomy(served), quiet=quiet) as executor,
            progress("running", len(served), quiet=quiet) as advance,
        ):
            for each in served:
                rows.append(_served(asked, each, executor, run_s))
                advance(1, f"{each.plan.name} at {each.load:.0%}")
    plans = [plan.name for plan in asked.plans]
    rows.sort(key=lambda row: (row.load, plans.index(row.plan)))
    return RealRuns(rows, list(dict.fromkeys(left)))


def _served(asked: Asked, made: Made, executor: Executor, run_s: float) -> Served:
    workload = at_rate(
        asked.config, made.load * asked.capacity_hz, duration_ns=round(run_s * NS_PER_S)
    )
    if asked.worth is None:
        log, judged = run_real(made.config, executor, workload), None
    else:
        log, users, lists = run_lists(made.config, executor, workload)
        judged = asked.worth.measured(log, users, lists)
    if log.info.get("interrupted"):
        raise KeyboardInterrupt
    return Served(
        plan=made.plan.name,
        load=made.load,
        real=True,
        setting=setting_of(asked.config, made.config),
        runs=(outcome_of(made.config, log, judged),),
        memory=resident_memory(made.config, executor),
    )


def _frame(config: Config) -> str:
    """What workers are bound to: equal for configurations that the same ones can serve."""
    parents = config.parents()
    return repr(
        [
            (
                *(each.name, each.replicas, each.device, parents[each.name], each.model),
                *(each.keep, each.merge and each.merge.kind, each.levels),
            )
            for each in config.stages
        ]
    )


def _roomy(served: Sequence[Made]) -> Config:
    """One of the configurations, with room for the largest batches of all."""
    first = served[0].config
    stages = [
        replace(stage, max_batch=max(each.config.stage(stage.name).max_batch for each in served))
        for stage in first.stages
    ]
    return replace(first, stages=tuple(stages))


def resident_memory(config: Config, executor: Executor) -> Memory | None:
    """The resident size of the workers, the runtime included; None where the system does not tell it."""
    sizes = [
        size
        for stage in config.stages
        for pid in executor.worker_pids(stage.name)
        if (size := _resident_bytes(pid)) is not None
    ]
    return Memory(max(sizes), sum(sizes)) if sizes else None


def _resident_bytes(pid: int) -> int | None:
    """As Linux has it in /proc; in kibibytes there."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(sizes[0]) * 1024 if sizes else None
