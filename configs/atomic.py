"""Files and folders that appear whole or not at all: written under another name beside, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_in_place(folder: Path, keep: Collection[str] = ()) -> Iterator[Path]:
    """A folder to fill, that takes the place of ``folder`` when the block ends without an error.

    Files called as in ``keep`` move over from a folder that was there before. After an error, what was
    there before is there still, and nothing else. Raises OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(folder) as scratch:
        filled = scratch / "new"
        filled.mkdir()
        yield filled
        sync(filled)
        _swap(filled, folder, scratch / "old", keep)
    sync(folder.parent)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, in UTF-8. Raises OSError that names ``path``."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises OSError that names ``path``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _scratch(path) as scratch:
            new = scratch / "new"
            write_synced(new, content)
            os.replace(new, path)
        sync(path.parent)
    except OSError as error:
        # A full disk names no file, and what is written first has a name that nobody knows.
        error.filename, error.filename2 = str(path), None
        raise


def write_synced(path: Path, content: str | bytes) -> None:
    """Write a file, text in UTF-8, and through to the disk."""
    with path.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Bring a folder's entries through to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A hidden folder beside ``target``, gone with all that is in it when the block ends."""
    made = tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _swap(filled: Path, folder: Path, old: Path, keep: Collection[str]) -> None:
    if folder.exists():
        folder.rename(old)
    try:
        for name in keep:
            if (old / name).exists():
                shutil.copy2(old / name, filled / name)
        filled.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
