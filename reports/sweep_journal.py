"""What a sweep has found so far, kept line by line, so that one that was stopped goes on."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from reports.sweep_table import Description, Row, SweepError, difference


class Journal:
    """A file of rows, one JSON object a line below one that says what they are of.

    Every row is with the system when :meth:`add` returns, so that the end of the process loses none; a
    line that was cut off is dropped. One process at a time may have it open.
    """

    def __init__(self, path: Path, description: Description) -> None:
        """Open ``path``, or begin it.

        Raises SweepError where it holds rows of another sweep or another process has it, and OSError.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            self._lock()
            self.rows = self._read(description)
        except BaseException:
            self._file.close()
            raise

    def add(self, row: Row) -> None:
        """Keep one more row."""
        self.rows.append(row)
        self._write(row)

    def close(self) -> None:
        """Leave the file, with what it holds on the disk; one without rows goes."""
        if self._file.closed:
            return
        if not self.rows:
            self.remove()
            return
        os.fsync(self._file.fileno())
        self._file.close()

    def remove(self) -> None:
        """Drop the file: its rows are in the table."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SweepError(
                f"another process is writing {self.path}; wait for it, or give another --out"
            ) from error

    def _read(self, description: Description) -> list[Row]:
        self._file.seek(0)
        whole, newline, _ = self._file.read().rpartition(b"\n")
        lines = whole.split(b"\n") if newline else []
        try:
            head, *rows = [json.loads(line) for line in lines] or [None]
        except ValueError as error:
            raise SweepError(f"{self.path} is damaged; move it away to begin anew") from error
        if rows and (place := difference(head, description)) is not None:
            raise SweepError(
                f"{self.path} holds {len(rows):,} rows of another sweep ({place} differs); give"
                " another --out, or move it away"
            )
        self._file.truncate(len(whole) + 1 if rows else 0)
        if not rows:
            self._write(description)
        return rows

    def _write(self, value: object) -> None:
        self._file.write(json.dumps(value).encode() + b"\n")
        self._file.flush()
