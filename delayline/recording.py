"""Records of a command that may make several runs: ``DIR`` for one, ``DIR/rep-K`` for several."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from delayline.runs import check_run_target, write_run
from reports.run import Run

_REPLICATION = re.compile(r"rep-[0-9]+")


class Recorder:
    """Writes each run as soon as it is there, so that an interrupted command keeps those it has.

    Replications of an earlier command in the same folder are removed first: with what is written now
    they would look like one set. Raises RecordsError at once where the folder holds anything else.
    """

    def __init__(self, folder: Path, runs: int) -> None:
        self.folder = folder
        self._several = runs > 1
        self._written = 0
        if not self._several:
            check_run_target(folder)
        elif folder.exists():
            _refuse_others(folder)
            for old in replications_in(folder):
                shutil.rmtree(old)

    def add(self, run: Run) -> None:
        """Record the next run. Raises RecordsError."""
        target = self.folder / f"rep-{self._written}" if self._several else self.folder
        write_run(target, run)
        self._written += 1


def replications_in(folder: Path) -> list[Path]:
    """The folders of replications in ``folder``, by number; empty for one that holds none."""
    found = [entry for entry in folder.iterdir() if _REPLICATION.fullmatch(entry.name)]
    return sorted(found, key=lambda entry: int(entry.name.partition("-")[2]))


def _refuse_others(folder: Path) -> None:
    from reports.records import RecordsError, is_run

    if not folder.is_dir():
        raise RecordsError(f"{folder} is a file; give a folder for the records")
    for entry in sorted(folder.iterdir()):
        if not (_REPLICATION.fullmatch(entry.name) and is_run(entry)):
            raise RecordsError(
                f"{folder} holds more than replications ({entry.name}); "
                "give a new folder, or empty this one"
            )
