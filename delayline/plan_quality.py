"""What the lists of plans are worth, by the configuration's quality table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.model import Config
from delayline.quality import QualityModel, quality_model
from policies.runlog import Int64, RunLog
from reports.confidence import Estimate
from reports.plan_rows import Judged
from reports.quality import Quality, measured, predicted


@dataclass(frozen=True, slots=True)
class TableWorth:
    """A configuration's; see ``delayline.plan_runs.Worth``. Plans change how stages are scheduled and when
    joins go on, not how many candidates they pass on.
    """

    model: QualityModel
    keep: tuple[tuple[str, int], ...]

    def of(self, log: RunLog) -> Judged | None:
        """As the table predicts. Raises QualityError for a way of serving that it does not hold."""
        return _judged(predicted(self.model.table, dict(self.keep), log))

    def measured(self, log: RunLog, users: Int64, lists: NDArray[np.int64]) -> Judged | None:
        """Of lists (requests, k) as they were answered to ``users`` (requests,)."""
        return _judged(measured(self.model.table, log, users, lists))

    def lost(self, log: RunLog) -> float:
        """Less what full service has, as a share of it; 0 where that has nothing."""
        found, full = self.of(log), self.model.full_service(dict(self.keep))
        return 1 - found.ndcg / full if found and found.ndcg is not None and full else 0.0

    @property
    def full(self) -> Judged:
        """The full model's."""
        return _of(self.model.table.full)

    @property
    def candidates(self) -> int:
        """How many the full model ranks."""
        return self.model.table.candidates


def worth_of(config: Config) -> TableWorth | None:
    """By the configuration's table; None where it names none. Raises QualityError."""
    model = quality_model(config)
    return None if model is None else TableWorth(model, tuple(config.keeps().items()))


def _judged(found: Quality | None) -> Judged | None:
    return None if found is None else _of(found.scores)


def _of(scores: Mapping[str, Estimate]) -> Judged:
    return Judged(scores["ndcg"].value, scores["recall"].value, scores["agreement"].value)
