"""What tuning is told of a run, by the definitions of ``reports``; in little beside the run's own time."""

from __future__ import annotations

from functools import partial

import numpy as np

from configs.model import Config
from delayline.runs import objective_of, warmup_ns
from policies.runlog import Outcome, RunLog
from reports.objective import reached_ms
from reports.percentiles import NS_PER_S
from reports.run import Run
from reports.steps import overlap_ns
from sim.tuning.costs import Cost, paid
from sim.tuning.score import Figures, Judge


def judge(config: Config, log: RunLog) -> Figures:
    """The figures of one run of ``config``, which must have an objective; the cost is the time that
    replicas are busy for 1,000 answers. Raises ValueError.
    """
    return _judged(config, log, pays=False)


def judge_for(cost: Cost) -> Judge:
    """The judge that counts a cost."""
    return partial(_judged, pays=True) if cost.name == "paid" else judge


def _judged(config: Config, log: RunLog, *, pays: bool) -> Figures:
    run = Run(config.name, log, objective_of(config), warmup_ns(config, log))
    completed = int(np.count_nonzero(log.requests.outcome == Outcome.COMPLETED))
    return Figures(
        latency_ms=reached_ms(run),
        unanswered=1 - completed / len(log.requests),
        cost=paid(config) if pays else busy_s_per_1000(log, run.warmup_ns),
    )


def busy_s_per_1000(log: RunLog, warmup_ns: int) -> float:
    """As ``cost.busy_seconds_per_1000`` has it; where nothing was answered, of one answer."""
    answered = log.requests.outcome == Outcome.COMPLETED
    if warmup_ns:
        answered &= log.requests.ended_ns >= warmup_ns
    used_ns = sum(
        overlap_ns(stage.batches.dispatched_ns, stage.batches.finished_ns, warmup_ns, log.end_ns)
        for stage in log.stages
    )
    return 1000 * used_ns / NS_PER_S / max(int(np.count_nonzero(answered)), 1)
