"""Runs from what a command line names: folders of records, and configurations to simulate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from delayline.errors import CommandError
from delayline.loading import load_config
from delayline.recording import replications_in
from delayline.runs import read_run, run_of
from reports.run import Run


def gathered(sources: Sequence[Path], overrides: Sequence[str] = ()) -> Iterator[Run]:
    """The run of each source: the one that a folder holds, or one simulated replication of a
    configuration, with ``overrides`` put in. A name that was there before has its source added to it.

    Raises CommandError for a folder of several replications, and whatever reading and loading raise.
    """
    seen: set[str] = set()
    for source in sources:
        run = _recorded(source) if source.is_dir() else _simulated(source, overrides)
        if run.name in seen:
            run = replace(run, name=f"{run.name} ({source})")
        seen.add(run.name)
        yield run


def recorded(folders: Sequence[Path]) -> Iterator[Run]:
    """The runs that folders hold. Raises as :func:`gathered`."""
    return map(_recorded, folders)


def _simulated(file: Path, overrides: Sequence[str]) -> Run:
    config = load_config(file, overrides)
    from sim.simulate import simulate

    return run_of(config, simulate(config))


def _recorded(folder: Path) -> Run:
    several = replications_in(folder) if folder.is_dir() else []
    if several:
        raise CommandError(
            f"{folder} holds {len(several)} replications; name one of them, such as {several[0]}"
        )
    return read_run(folder)
