"""What ``validate --out`` keeps: profiles, a folder of runs for each scenario, and the figures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from delayline.runs import write_run
from reports.validation import Scenario, Validation, write

if TYPE_CHECKING:
    from delayline.scenarios import Validated

PROFILE = "profile.json"
FIGURES = "validation.json"

_SCENARIO = re.compile(r"scenario-[0-9]+")
_MAY_LIE_BESIDE = frozenset({PROFILE, FIGURES, "report.html"})


class ScenarioRecorder:
    """Keeps each scenario as soon as it is there, so that an interrupted command keeps those it has.

    Raises RecordsError at once where the folder holds anything but an earlier validation.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: list[Scenario] = []
        _refuse_others(folder)

    def begin(self) -> None:
        """Make the folder, and remove what an earlier validation left there: with what is written now it
        would look like one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / FIGURES).unlink(missing_ok=True)
        for old in list(_scenarios_in(self.folder)):
            shutil.rmtree(old)

    def add(self, found: Validated) -> None:
        """Keep the next scenario: its runs, then the figures of all so far. Raises RecordsError, OSError."""
        target = scenario_folder(self.folder, len(self._kept))
        try:
            for what in ("real", "predicted", "replayed", "repeat"):
                write_run(target / what, getattr(found, what))
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        self._kept.append(found.scenario)
        write(self.folder / FIGURES, Validation(tuple(self._kept)))


def scenario_folder(folder: Path, place: int) -> Path:
    """Where the runs of the scenario at this place go, and the profile that it was predicted from."""
    return folder / f"scenario-{place}"


def _scenarios_in(folder: Path) -> Iterator[Path]:
    return (entry for entry in folder.iterdir() if _SCENARIO.fullmatch(entry.name))


def _refuse_others(folder: Path) -> None:
    from reports.records import RecordsError

    if not folder.exists():
        return
    if not folder.is_dir():
        raise RecordsError(f"{folder} is a file; give a folder for the records")
    known = {entry.name for entry in _scenarios_in(folder)} | _MAY_LIE_BESIDE
    for entry in sorted(folder.iterdir()):
        if entry.name not in known:
            raise RecordsError(
                f"{folder} holds more than a validation ({entry.name}); "
                "give a new folder, or empty this one"
            )
