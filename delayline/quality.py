"""The quality table of a configuration, which is checked to be of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.model import Config
from configs.served import described, difference
from configs.tuning import Tunable
from delayline.runs import warmup_ns
from policies.runlog import RunLog
from reports.quality import Quality, RunQuality, measured, predicted, row_of
from reports.quality_table import QualityError, QualityTable, read_table, way

_OTHER_MODEL = frozenset({"levels", "model", "merge", "after"})
"""Keys below which a knob makes another model of a pipeline."""


@dataclass(frozen=True, slots=True)
class QualityModel:
    """What predicts the quality of runs. Picklable; the table is read once a process."""

    path: Path

    @property
    def table(self) -> QualityTable:
        """The table. Raises QualityError."""
        return _read(self.path, self.path.stat().st_mtime_ns if self.path.exists() else 0)

    def predicted(self, config: Config, log: RunLog) -> Quality | None:
        """Of a run of ``config``; None where nothing was completed. Raises QualityError."""
        try:
            return predicted(self.table, config.keeps(), log, warmup_ns(config, log))
        except QualityError as error:
            raise QualityError(f"{self.path}: {error}") from None

    def full_service(self, keep: Mapping[str, int]) -> float:
        """NDCG@10 of stages that keep so many, all served in full. Raises QualityError."""
        try:
            return row_of(self.table, way(keep)).scores["ndcg"].value
        except QualityError as error:
            raise QualityError(f"{self.path}: {error}") from None

    def check_tuned(self, knob: Tunable) -> None:
        """Raise QualityError where a knob that is tuned would leave what was measured: another model, or a
        width that has no row.
        """
        *_, stage, key = ["", *knob.path.split(".")]
        if _OTHER_MODEL & set(knob.path.split(".")) and key not in ("deadline", "quorum"):
            raise QualityError(
                f"tune.{knob.path}: quality is known of levels, merges and models as they are; leave this one"
                " out, or quality out of the goals"
            )
        if key == "keep":
            self._check_widths(stage, knob)

    def _check_widths(self, stage: str, knob: Tunable) -> None:
        for found in knob.ranges.values():
            if found.choices is None:
                raise QualityError(
                    f"tune.stages.{stage}.keep: quality is known of single widths alone; give choices, and"
                    f" evaluate with --keep {stage}=... for each"
                )
            known = {dict(row.way.keep).get(stage) for row in self.table.rows}
            more = [width for width in found.choices if width not in known]
            if more:
                raise QualityError(
                    f"{self.path}: there is no row for {stage} keeping {', '.join(map(str, more))}; evaluate"
                    f" with --keep {stage}={','.join(map(str, found.choices))}, and so for every width that"
                    " is tuned"
                )

    def judged(
        self,
        config: Config,
        log: RunLog,
        users: NDArray[np.int64],
        lists: NDArray[np.int64],
    ) -> RunQuality:
        """Of a real run of ``config``: ``lists`` (requests, k) as they were answered to ``users`` (requests,)
        beside what was predicted of how they were served. Raises QualityError.
        """
        cut_ns = warmup_ns(config, log)
        found = measured(self.table, log, users, lists, cut_ns)
        return RunQuality(self.predicted(config, log), found)


def quality_model(config: Config) -> QualityModel | None:
    """The configuration's; None where it names no table. Raises QualityError for one that cannot be read
    or is of another model; weights that are not on this machine are not compared.
    """
    if config.quality is None:
        return None
    found = QualityModel(config.quality.path)
    table = found.table
    if other := difference(described(config), [dict(stage) for stage in table.stages]):
        raise QualityError(
            f"{found.path}: the table is of another model: {other}; `delayline evaluate` makes one for"
            " this configuration"
        )
    digest = digest_here(config)
    if digest is not None and digest != table.digest:
        raise QualityError(
            f"{found.path}: the table is of other weights than those that are here; evaluate again, or"
            " bring the weights that it was measured on"
        )
    return found


def digest_here(config: Config) -> str | None:
    """Of the weights of all stages; None where they are not here, or none of them tells."""
    from executors.held_out import HoldsOut, digest_of

    models = [stage.model for stage in config.stages]
    known = [model for model in models if isinstance(model, HoldsOut)]
    if len(known) < len(models) or not all(model.is_here() for model in known):
        return None
    return digest_of(config)


@lru_cache(maxsize=8)
def _read(path: Path, stamp: int) -> QualityTable:  # noqa: ARG001
    """Kept, since a search asks for it in every trial; read anew where it has changed."""
    return read_table(path)
