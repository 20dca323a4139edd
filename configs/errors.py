"""What is wrong with a configuration, said so that it can be put right."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Loc = tuple[str | int, ...]
"""Where in a configuration: keys and list positions, from the root."""

_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong at one place. ``where`` is a key path such as ``stages.rank.policy.delay``, or
    empty for the whole file; ``source`` is the file, or the ``--set`` that brought it in.
    """

    source: str
    where: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.where, self.text) if part)


class ConfigError(ValueError):
    """A configuration that cannot be used. ``problems`` holds all that was found, one line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def shown(value: object) -> str:
    """A value found in a configuration, as short text for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        text = f"'{value}'"
    elif isinstance(value, dict):
        return "a mapping"
    elif isinstance(value, list | tuple):
        return "a list"
    elif isinstance(value, bool | int | float):
        text = json.dumps(value)
    else:
        text = str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def nearest(name: object, known: Iterable[str], *, called: str = "known") -> str:
    """The end of a message about an unknown name: what may have been meant, and what there is."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"{called}: {', '.join(names)}" if names else f"{called}: none"


def no_knob(family: str | None, kind: object, name: str, knobs: Iterable[str]) -> str:
    """A message about a knob that a kind has not; ``family`` where the reader may not know it."""
    knobs = list(knobs)
    of = f"the {family} kind `{kind}`" if family else f"the kind `{kind}`"
    return f"{of} has no such knob; {nearest(name, knobs)}" if knobs else f"{of} has no knobs"


def no_entry(depth: int, path: Sequence[str], names: Iterable[str]) -> str:
    """A message about an entry that is not there, the one at ``path[depth]``."""
    what = "stage" if depth == 1 and path[0] == "stages" else "entry"
    return f"there is no such {what}; {nearest(path[depth], names)}"


def key_path(loc: Loc, stage_names: Sequence[str | None] = ()) -> str:
    """``loc`` as text, with a stage by its name where it has one: ``stages.rank.policy.delay``."""
    text = ""
    for depth, part in enumerate(loc):
        if isinstance(part, str):
            text += f".{part}" if text else part
            continue
        stage = depth == 1 and loc[0] == "stages" and part < len(stage_names)
        name = stage_names[part] if stage else None
        text += f".{name}" if name else f"[{part}]" if depth else str(part)
    return text
