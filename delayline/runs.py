"""Between logs, configurations and recorded runs."""

from __future__ import annotations

import os
from pathlib import Path

from configs.dump import plain_config
from configs.model import Config
from policies.runlog import RunLog
from reports.quality import RunQuality
from reports.run import Objective, Run


def run_of(config: Config, log: RunLog, quality: RunQuality | None = None) -> Run:
    """The log of a run of ``config``, with its objective, its warm-up cut and its settings; and what its
    lists are worth, where that is known.
    """
    return Run(
        name=config.name,
        log=log,
        objective=objective_of(config),
        warmup_ns=warmup_ns(config, log),
        config=plain_config(config),
        quality=quality,
    )


def objective_of(config: Config) -> Objective | None:
    """The objective as reports take it."""
    asked = config.objective
    return None if asked is None else Objective(asked.latency_ns, asked.percentile)


def warmup_ns(config: Config, log: RunLog) -> int:
    """Where the warm-up of a run of ``config`` ends."""
    arrival_ns = log.requests.arrival_ns
    return config.warmup.cut_ns(int(arrival_ns[-1]) if len(arrival_ns) else 0)


def write_run(folder: str | os.PathLike[str], run: Run) -> None:
    """Record a run in ``folder``, whole or not at all. Raises RecordsError."""
    from reports import records

    records.write(Path(folder), run)


def check_run_target(folder: Path) -> None:
    """Raises RecordsError where :func:`write_run` would refuse ``folder``; to be asked before a long run."""
    from reports import records

    records.check_target(folder)


def read_run(folder: str | os.PathLike[str]) -> Run:
    """The run that was recorded in ``folder``. Raises RecordsError."""
    from reports import records

    return records.read(Path(folder))
