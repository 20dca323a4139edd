"""What tuning is told of a run, by the definitions of ``reports``."""

from __future__ import annotations

from configs.model import Config
from delayline.runs import run_of
from policies.runlog import RunLog
from reports.objective import reached_ms
from sim.tuning.score import Figures


def judge(config: Config, log: RunLog) -> Figures:
    """The figures of one run of ``config``, which must have an objective. Raises ValueError."""
    run = run_of(config, log)
    metrics = run.measure()
    answers = (metrics.throughput_rps or 0.0) * metrics.duration_s
    return Figures(
        latency_ms=reached_ms(run),
        unanswered=1 - metrics.completed / metrics.arrived,
        busy_s_per_1000=1000 * metrics.cost.busy_seconds / max(answers, 1.0),
    )
