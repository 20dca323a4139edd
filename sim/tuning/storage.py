"""Where a study is kept: in memory, in a file, in a database; and whose it is."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import Study, StudyDirection

IDENTITY = "delayline"
"""The attribute of a study that says what it is of."""
_JOURNAL = "journal:///"
_REACHED_WITHIN_S = 10
_SPELLINGS = "journal:///FILE, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
_MOST_NAMED = 3


class StorageError(ValueError):
    """A storage that cannot be used, or that holds another study; the text says what to do."""


@contextmanager
def study_in(
    url: str | None, name: str, goals: int, identity: Mapping[str, Any]
) -> Iterator[Study]:
    """The study of that name in a storage, new or as it was left; in memory without a ``url``.

    ``identity`` says in plain values what the study is of. Raises StorageError where the storage cannot
    be reached or is in use, and where it holds a study of that name with another identity.
    """
    directions = [StudyDirection.MINIMIZE] * goals
    if url is None:
        yield optuna.create_study(directions=directions)
        return
    mine = json.loads(json.dumps(identity))
    with ExitStack() as closing:
        with storage_errors(url):
            storage = closing.enter_context(_storage(url))
            try:
                study = optuna.load_study(study_name=name, storage=storage)
            except KeyError:
                study = optuna.create_study(study_name=name, storage=storage, directions=directions)
            theirs = study.user_attrs.get(IDENTITY)
            if theirs is None and not study.get_trials(deepcopy=False):
                study.set_user_attr(IDENTITY, mine)
            elif theirs != mine:
                raise StorageError(
                    f"study {name} in {shown_url(url)} {_difference(theirs, mine)}; give another"
                    " --study name, or another --storage"
                )
        yield study


@contextmanager
def storage_errors(url: str | None) -> Iterator[None]:
    """Whatever goes wrong with a storage as a StorageError of one line."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    shown = shown_url(url or "")
    try:
        yield
    except StorageError:
        raise
    except (ArgumentError, NoSuchModuleError) as error:
        raise StorageError(f"storage {shown} cannot be read: write {_SPELLINGS}") from error
    except ImportError as error:
        raise StorageError(f"storage {shown} needs a package: {_needed(error)}") from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError, OSError) as error:
        raise StorageError(f"storage {shown} cannot be used: {_reason(error)}") from error


def shown_url(url: str) -> str:
    """A storage's URL without its password."""
    return re.sub(r"^([^:/]+://[^:/@]*):[^@]*@", r"\1:***@", url)


@contextmanager
def _storage(url: str) -> Iterator[BaseStorage]:
    if "://" not in url:
        raise StorageError(f"storage {shown_url(url)} is no URL; write {_SPELLINGS}")
    if url.startswith("journal:"):
        with _journal(url) as journal:
            yield journal
        return
    arguments: dict[str, Any] = {}
    if re.match(r"postgresql(\+psycopg2?)?:", url):
        arguments = {"connect_args": {"connect_timeout": _REACHED_WITHIN_S}}
    if url.startswith("sqlite:"):
        _check_folder(url, url.partition("///")[2].partition("?")[0])
    storage = RDBStorage(url, engine_kwargs=arguments)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def _journal(url: str) -> Iterator[JournalStorage]:
    path = url.removeprefix(_JOURNAL)
    if path == url or not path:
        raise StorageError(f"storage {url} names no file; write journal:///FILE")
    _check_folder(url, path)
    if not _is_journal(path):
        raise StorageError(f"storage {url} is a file of something else; give another one")
    with _alone(path) as lock:
        if os.path.exists(path):
            _drop_torn_line(path)
        try:
            journal = JournalStorage(JournalFileBackend(path, lock_obj=lock))
        except (ValueError, KeyError) as error:
            raise StorageError(f"storage {url} is damaged ({error}); give another file") from error
        yield journal


def _check_folder(url: str, path: str) -> None:
    folder = Path(path).absolute().parent
    if path and not folder.is_dir():
        hint = "" if path.startswith("/") else f" (four slashes begin an absolute path: /{path})"
        raise StorageError(f"storage {shown_url(url)} is in {folder}, which is no folder{hint}")


class _Held(BaseJournalFileLock):
    """A lock that is held anyway."""

    def acquire(self) -> bool:
        """It is."""
        return True

    def release(self) -> None:
        """Not yet."""


@contextmanager
def _alone(path: str) -> Iterator[_Held]:
    """The lock of a journal, for a whole search. The system lets go of it however the process ends, so
    that one that was killed keeps nobody waiting.
    """
    with open(f"{path}.lock", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(
                f"storage {_JOURNAL}{path} is in use by another process; wait for it, or give another file"
            ) from error
        yield _Held()


def _drop_torn_line(path: str) -> None:
    """What a process was writing when it was killed: nobody has read it."""
    with open(path, "r+b") as file:
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def _is_journal(path: str) -> bool:
    """Whether a file is a journal, or not there yet, rather than somebody's other file."""
    if not os.path.exists(path):
        return True
    with open(path, "rb") as file:
        first = file.readline()
    return not first or first.startswith(b'{"op_code":')


def _difference(theirs: object, mine: Mapping[str, Any]) -> str:
    if not isinstance(theirs, Mapping):
        return "was not made by delayline tune"
    before, now = dict(_flat(theirs)), dict(_flat(mine))
    names = [name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)]
    told = [
        f"{name} {_said(before.get(name))} there and {_said(now.get(name))} here"
        for name in names[:_MOST_NAMED]
    ]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"is of another search: {', '.join(told)}{more}"


def _said(value: object) -> str:
    return "is not set" if value is None else f"is {value}"


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by their paths, stages by name."""
    for key, inner in value.items():
        path = f"{above}{key}"
        if isinstance(inner, list) and inner and all(isinstance(each, Mapping) for each in inner):
            inner = {str(each.get("name", at)): each for at, each in enumerate(inner)}
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{path}.")
        else:
            yield path, inner


def _needed(error: ImportError) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    name = cause.name or "the driver of its database"
    hint = "; install it by `pip install 'delayline[postgresql]'`" if "psycopg" in name else ""
    return f"{name} is not installed{hint}"


def _reason(error: BaseException) -> str:
    """The first line of what a driver says, without its own prefix."""
    text = str(getattr(error, "orig", None) or getattr(error, "strerror", None) or error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
