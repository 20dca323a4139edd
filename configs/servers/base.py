"""What a server's format is to the rest: it writes a configuration, reads one, and lists what is lost.

A format says what it has said (``said``, key paths of the configuration); everything else that a
configuration holds is listed by ``configs.servers.left_out``, so that nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, Problem
from configs.model import Config


class Fate(Enum):
    """What became of a setting that did not pass as it was."""

    NEARLY = "said nearly"
    LEFT_OUT = "not said"
    TO_FILL_IN = "to be filled in"


@dataclass(frozen=True, slots=True)
class Remark:
    """A setting that did not pass as it was. ``where`` is a key path, of the side that it comes from."""

    fate: Fate
    where: str
    text: str


def nearly(where: str, text: str) -> Remark:
    """A setting that was translated to the nearest that there is."""
    return Remark(Fate.NEARLY, where, text)


def left_out(where: str, text: str) -> Remark:
    """A setting that the other side has no word for."""
    return Remark(Fate.LEFT_OUT, where, text)


def to_fill_in(where: str, text: str) -> Remark:
    """Something that the other side needs and that this side does not know."""
    return Remark(Fate.TO_FILL_IN, where, text)


@dataclass(frozen=True, slots=True)
class Exported:
    """A configuration in a server's format."""

    files: Mapping[str, str]
    """Text by path, relative to the folder."""
    settings: Mapping[str, Mapping[str, object]]
    """By stage, what the server's own keys were set to, for a reader."""
    said: frozenset[str]
    """Key paths of the configuration that the files hold, exactly or nearly."""
    remarks: tuple[Remark, ...] = ()
    folders: tuple[str, ...] = ()
    """Folders that the server expects and that stay empty."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A server's configuration as part of ours: plain values, as YAML holds them, units in text."""

    stages: Sequence[Mapping[str, Any]]
    """Keys of each stage; ``service`` is not among them."""
    name: str = ""
    workload: Mapping[str, Any] = field(default_factory=dict)
    devices: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    ordered: bool = True
    """Whether the files say in which order the stages follow."""


@dataclass(frozen=True, slots=True)
class ServerFormat:
    """One server's format; registered by a line in ``configs.servers.registry``."""

    name: str
    """As ``--to`` and ``--from`` have it."""
    title: str
    patterns: tuple[str, ...]
    """Where its files lie, below a folder that is to be imported."""
    write: Callable[[Config], Exported]
    """Raises ConfigError for what the server would refuse."""
    read: Callable[[Sequence[Path]], Imported]
    """From files that match; raises ConfigError that names the file and the key."""

    def found(self, place: Path) -> list[Path]:
        """Its files in a folder, or the file itself where it is called so."""
        if place.is_dir():
            return sorted({path for each in self.patterns for path in place.glob(each)})
        return [place] if any(place.match(each) for each in self.patterns) else []


class MissingLibraryError(ValueError):
    """A format needs a library that is not installed."""


def refused(source: str, where: str, text: str) -> ConfigError:
    """A setting that the server, or we, would not take."""
    return ConfigError([Problem(source, where, text)])


def order_remarks(config: Config, how: str) -> list[Remark]:
    """That a format has no word for the graph of stages, where there is one; ``how`` says what to do."""
    if len(config.stages) < 2:
        return []
    edges = [
        f"{' and '.join(parents)} before {name}"
        for name, parents in config.parents().items()
        if parents
    ]
    return [left_out("stages", f"their order ({'; '.join(edges) or 'none'}): {how}")]


def stage_of(path: Path) -> str:
    """The stage whose settings lie in a file: by the folder that holds it."""
    return path.absolute().parent.name
