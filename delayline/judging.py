"""What tuning is told of a run, by the definitions of ``reports``; in little beside the run's own time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from configs.model import Config
from delayline.quality import QualityModel
from delayline.runs import objective_of, warmup_ns
from policies.runlog import Outcome, RunLog
from reports.objective import reached_ms
from reports.percentiles import NS_PER_S
from reports.run import Run
from reports.steps import overlap_ns
from sim.tuning.costs import Cost, paid
from sim.tuning.score import Figures, Judge


@dataclass(frozen=True, slots=True)
class Loss:
    """Loss of quality against a setting in full service. Picklable."""

    model: QualityModel
    full: float
    """NDCG@10 of that."""

    def of(self, config: Config, log: RunLog) -> float:
        """As a share; all of it where nothing was answered. Raises QualityError."""
        found = self.model.predicted(config, log)
        if found is None:
            return 1.0
        return 1 - found.scores["ndcg"].value / self.full if self.full else 0.0


def judge(config: Config, log: RunLog) -> Figures:
    """The figures of one run of ``config``, which must have an objective; the cost is the time that
    replicas are busy for 1,000 answers. Raises ValueError.
    """
    return _judged(config, log, pays=False)


def judge_for(cost: Cost, loss: Loss | None = None) -> Judge:
    """The judge that counts a cost, and a loss of quality where one is given."""
    if cost.name != "paid" and loss is None:
        return judge
    return partial(_judged, pays=cost.name == "paid", loss=loss)


def _judged(config: Config, log: RunLog, *, pays: bool, loss: Loss | None = None) -> Figures:
    run = Run(config.name, log, objective_of(config), warmup_ns(config, log))
    completed = int(np.count_nonzero(log.requests.outcome == Outcome.COMPLETED))
    return Figures(
        latency_ms=reached_ms(run),
        unanswered=1 - completed / len(log.requests),
        cost=paid(config) if pays else busy_s_per_1000(log, run.warmup_ns),
        lost=0.0 if loss is None else loss.of(config, log),
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
