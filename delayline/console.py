"""What commands print: results on stdout, all else on stderr, progress only where a person watches."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_WIDTH_OF_FILES = 110
"""Columns of a table that goes to a file or a pipe."""
LINE_EVERY_S = 15.0
"""Least time between two lines that tell of progress where no bar can."""


class _Results(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the front door, for tables as for JSON."""
        raise BrokenPipeError


def results() -> Console:
    """The console for results: stdout as it is now."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
    return _Results(width=width, highlight=False, markup=False)


def print_json(value: Mapping[str, object]) -> None:
    """One object on stdout, by itself. NaN and infinity, which JSON has not, raise ValueError."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def say(text: str) -> None:
    """A line on stderr: an error, a note, or where something was written."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class Advance(Protocol):
    """Tells a progress bar that some steps are done, and what to show beside it."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """So many more steps are done."""


class _Lines:
    """How far long work is, in a line now and then, so that a log shows that it goes on."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._told_s = time.monotonic()

    def tell(self, done: float, of: float | None, note: str) -> None:
        """A line, unless the last was a moment ago."""
        now_s = time.monotonic()
        if now_s - self._told_s >= LINE_EVERY_S:
            self._told_s = now_s
            say(f"{self._doing}: {done:.0f} of {of or 0:.0f}" + (f", {note}" if note else ""))


@contextmanager
def progress(doing: str, steps: int, *, quiet: bool = False) -> Iterator[Advance]:
    """A progress bar on stderr, gone when the block ends; a line now and then where it is no terminal."""
    console = Console(stderr=True)
    lines = None if quiet or console.is_terminal else _Lines(doing)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    with bar:
        task = bar.add_task(doing, total=steps, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)
            if (done := bar.tasks[0].completed) > (bar.tasks[0].total or 0):
                bar.update(task, total=done)  # there was more to do than it seemed
            if lines is not None:
                lines.tell(bar.tasks[0].completed, bar.tasks[0].total, note)

        yield advance


def shares(advance: Advance) -> Callable[[str, float], None]:
    """For work that tells what it does and how much of all is done: a bar of 100 steps."""
    shown = 0

    def tell(doing: str, done: float) -> None:
        nonlocal shown
        advance(round(100 * done) - shown, doing)
        shown = round(100 * done)

    return tell


def counts(advance: Advance) -> Callable[[int, int], None]:
    """For work that tells how many of its steps are done by now."""
    shown = 0

    def tell(done: int, of: int) -> None:  # noqa: ARG001
        nonlocal shown
        advance(done - shown)
        shown = done

    return tell
