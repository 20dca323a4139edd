"""Sweeps from end to end: which runs there are to make, and the table that keeps them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import pyarrow as pa

from configs.dump import plain_config
from configs.errors import ConfigError, Problem
from configs.model import Config
from configs.tuning import knob_ranges
from delayline.console import progress
from delayline.errors import CommandError
from delayline.runs import objective_of, warmup_ns
from policies.runlog import RunLog
from reports.sweep_journal import Journal
from reports.sweep_table import (
    OK,
    REFUSED,
    Cell,
    Columns,
    Description,
    Row,
    SweepError,
    difference,
    figures,
    read,
    table_of,
    write,
)
from sim.backends.base import Backend
from sim.backends.choose import backend_for
from sim.sweeping.axes import Axis, axis_of, parse_axis
from sim.sweeping.cells import cell, column
from sim.sweeping.design import Setting, check_axes, grid, scattered
from sim.sweeping.run import Answer, Task, grouped, swept

Key = tuple[Cell, ...]
"""The cells of a setting and the number of a replication: what tells a row from all others."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What there is to run."""

    config: Config
    axes: Sequence[Axis]
    settings: Sequence[Setting]

    @property
    def columns(self) -> Columns:
        """The columns of its table."""
        knobs: dict[str, str] = dict(column(axis) for axis in self.axes)
        return Columns(knobs, tuple(stage.name for stage in self.config.stages))

    def cells(self, setting: Setting) -> tuple[Cell, ...]:
        """A setting as its table has it."""
        return tuple(cell(axis, value) for axis, value in zip(self.axes, setting, strict=True))

    def description(self) -> Description:
        """All that its rows depend on but for settings and replications, JSON-able."""
        found = {
            "format": "delayline-sweep/1",
            "knobs": self.columns.knobs,
            **identity(replace(self.config, tune={}, replications=1)),
        }
        described: Description = json.loads(json.dumps(found))
        return described


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep has found."""

    sweep: Sweep
    table: pa.Table
    """Rows in the order of the settings, then of replications; of all runs unless interrupted."""
    new: int
    """Rows that were simulated now; the others were there before."""
    missing: int
    """Runs that are still to be made: none unless it was interrupted."""


def sweep(
    config: Config,
    over: Sequence[str] = (),
    *,
    out: str | os.PathLike[str],
    count: int | None = None,
    random: int | None = None,
    jobs: int = -1,
    backend: Backend | None = None,
    quiet: bool = True,
) -> Swept:
    """Simulate many settings of a configuration into the table ``out``: :func:`design`, then
    :func:`run_sweep`.
    """
    planned = design(config, over, count=count, random=random)
    return run_sweep(planned, Path(out), jobs=jobs, backend=backend, quiet=quiet)


def design(
    config: Config, over: Sequence[str] = (), *, count: int | None = None, random: int | None = None
) -> Sweep:
    """The sweep over the knobs that ``over`` names (``PATH=VALUES``), or those under ``tune``.

    Every combination, ``count`` values to a range, or ``random`` points that fill the space. Raises
    ConfigError, and CommandError where both are asked for.
    """
    if count is not None and random is not None:
        raise CommandError("--grid and --random are two designs; give one of them")
    axes = [parse_axis(config, text) for text in over]
    if not over:
        axes = [axis_of(found) for found in knob_ranges(config)]
    check_axes(axes)
    settings = grid(axes, count) if random is None else scattered(axes, random, config.seed)
    return Sweep(config, axes, settings)


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    jobs: int = -1,
    backend: Backend | None = None,
    quiet: bool = True,
) -> Swept:
    """Simulate what of a sweep is not in the table ``out`` or in the journal beside it.

    Runs on ``backend``, or on ``jobs`` workers of the one that suits. Ctrl-C ends it early, its rows kept
    in the journal ``out.journal``; else they are all in the table, and the journal is gone. Raises
    SweepError where ``out`` holds another sweep, and OSError.
    """
    described = sweep.description()
    journal = Journal(out.with_name(f"{out.name}.journal"), described)
    try:
        known = _known(sweep, out, described, journal.rows)
        wanted = _wanted(sweep)
        _check_wanted(out, known, wanted)
        tasks = [task for key, task in wanted.items() if key not in known]
        new = 0
        try:
            with nullcontext(backend) if backend else backend_for(sweep.config, jobs) as workers:
                for key, row in _rows(sweep, tasks, workers, quiet=quiet):
                    journal.add(row)
                    known[key] = row
                    new += 1
        except KeyboardInterrupt:
            if not known:
                raise
        rows = [{"setting": wanted_at, **known[key]} for key, wanted_at in _numbered(sweep, known)]
        table = table_of(sweep.columns, rows, described)
        missing = len(wanted) - len(rows)
        if not missing:
            if tasks or not out.exists():
                write(out, table)
            journal.remove()
        return Swept(sweep, table, new, missing)
    finally:
        journal.close()


def _rows(
    sweep: Sweep, tasks: Sequence[Task], workers: Backend, *, quiet: bool
) -> Iterator[tuple[Key, Row]]:
    """A row for each task, as they are known."""
    paths = [axis.path for axis in sweep.axes]
    ordered = grouped(paths, tasks)
    with progress("sweeping", len(tasks), quiet=quiet) as advance:
        answers = swept(sweep.config, paths, ordered, measure, workers)
        for (setting, replication), answer in zip(ordered, answers, strict=True):
            cells = sweep.cells(setting)
            yield (*cells, replication), _row(sweep, cells, replication, answer)
            advance()


def measure(config: Config, log: RunLog) -> Row:
    """The figures of one run of a sweep, its seed and its driver."""
    found = figures(log, objective_of(config), warmup_ns(config, log))
    return {"seed": config.seed, "engine": str(log.info["engine"]), **found}


def _row(sweep: Sweep, cells: Sequence[Cell], replication: int, answer: Answer[Row]) -> Row:
    return {
        "replication": replication,
        "seed": sweep.config.seed,
        "status": REFUSED if answer.measure is None else OK,
        "reason": answer.refused or None,
        **(answer.measure or {}),
        **dict(zip(sweep.columns.knobs, cells, strict=True)),
    }


def _wanted(sweep: Sweep) -> dict[Key, Task]:
    return {
        (*sweep.cells(setting), replication): (setting, replication)
        for setting in sweep.settings
        for replication in range(sweep.config.replications)
    }


def _numbered(sweep: Sweep, known: Mapping[Key, Row]) -> Iterator[tuple[Key, int]]:
    """The keys that are known, in order, with the numbers of their settings."""
    for number, setting in enumerate(sweep.settings):
        cells = sweep.cells(setting)
        for replication in range(sweep.config.replications):
            if (*cells, replication) in known:
                yield (*cells, replication), number


def _known(sweep: Sweep, out: Path, described: Description, kept: Sequence[Row]) -> dict[Key, Row]:
    """The rows of the journal and of a table that is there."""
    rows = list(kept)
    if out.exists():
        table, of = read(out)
        if (place := difference(of, described)) is not None:
            raise SweepError(
                f"{out} holds another sweep ({place} differs); give another --out, or move it away"
            )
        rows += table.drop_columns(["setting"]).to_pylist()
    knobs = list(sweep.columns.knobs)
    return {(*(row[name] for name in knobs), row["replication"]): row for row in rows}


def _check_wanted(out: Path, known: Mapping[Key, Row], wanted: Mapping[Key, Task]) -> None:
    """A table may grow; it does not lose rows."""
    others = sum(key not in wanted for key in known)
    if others:
        raise SweepError(
            f"{out} or its journal holds {others:,} runs that this sweep does not ask for; ask for"
            " them too, give another --out, or move it away"
        )


def identity(config: Config) -> dict[str, object]:
    """What the runs of a configuration depend on, JSON-able: itself, the files that it names, the version.

    Raises ConfigError for a file that cannot be read.
    """
    return {
        "version": metadata.version("delayline"),
        "config": plain_config(config),
        "files": {str(path): _digest(path) for path in _files(config)},
    }


def _files(value: object) -> Iterator[Path]:
    """The files that a configuration names."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _files(entry)
    elif isinstance(value, tuple):
        for entry in value:
            yield from _files(entry)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _files(getattr(value, field.name))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    except OSError as error:
        raise ConfigError([Problem("", str(path), error.strerror or str(error))]) from error
