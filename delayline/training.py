"""How training and its quality are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from delayline.console import Advance, shares
from delayline.tables import plain_table
from reports.numbers import NONE

if TYPE_CHECKING:
    from executors.recommender.evaluation import Evaluation
    from executors.recommender.fitting import Progress, TrainingStep


def steps(advance: Advance) -> Progress:
    """Shows training steps on a bar of 100: all stages count the same."""
    tell = shares(advance)

    def step(step: TrainingStep) -> None:
        tell(
            f"{step.stage} (validation NDCG {step.validation_ndcg:.3f})",
            (step.stages_done + step.fraction) / step.stages,
        )

    return step


def print_quality(console: Console, evaluation: Evaluation) -> None:
    """A table: each system's NDCG@10 and recall@k."""
    cutoffs = sorted({k for system in evaluation.systems for k in system.recall_at})
    table = plain_table("list", "NDCG@10", *(f"recall@{k}" for k in cutoffs))
    for system in evaluation.systems:
        recalls = (system.recall_at.get(k) for k in cutoffs)
        table.add_row(
            system.system,
            f"{system.ndcg_10:.4f}",
            *(NONE if recall is None else f"{recall:.4f}" for recall in recalls),
        )
    console.print(table)
    console.print(f"over {evaluation.users} users, one held-out interaction each")
