"""What lists are worth by how a request was served, as ``delayline evaluate`` measures and writes it.

The file is JSON, format ``delayline-quality/1``. It is of one model: a table says which stages it was
measured on and the digest of their weights, and is refused for others.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.atomic import write_text
from reports.confidence import Estimate
from reports.list_scores import SCORES

FORMAT = "delayline-quality/1"


class QualityError(ValueError):
    """A quality table that cannot be used; the text names the file, the place in it, and what to do."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way of serving; made by :func:`way`."""

    keep: tuple[tuple[str, int], ...]
    """By stage, how many candidates it passes on; of all stages that say so, in order of their names."""
    levels: tuple[tuple[str, int], ...] = ()
    """By stage, the level at which it served; of those that did not serve in full."""
    missing: tuple[str, ...] = ()
    """Stages whose result the join behind them went on without."""

    @property
    def whole(self) -> bool:
        """Whether all is served in full."""
        return not self.levels and not self.missing

    def told(self) -> str:
        """What is not in full, in words; empty where all is."""
        parts = [f"{name} at level {level}" for name, level in self.levels]
        return ", ".join([*parts, *(f"without {name}" for name in self.missing)])


def way(
    keep: Mapping[str, int], levels: Mapping[str, int] | None = None, missing: Iterable[str] = ()
) -> Way:
    """The way; levels of 0 are left out."""
    served = {name: level for name, level in (levels or {}).items() if level}
    return Way(
        tuple(sorted(keep.items())), tuple(sorted(served.items())), tuple(sorted(set(missing)))
    )


def needed(parents: Mapping[str, Sequence[str]], missing: Collection[tuple[str, str]]) -> set[str]:
    """The stages whose results come into the answer, where edges (stage, join) are ``missing``; ``parents``
    in topological order.
    """
    followed = {name for names in parents.values() for name in names}
    found = {name for name in parents if name not in followed}
    for name in reversed(list(parents)):
        if name in found:
            found.update(parent for parent in parents[name] if (parent, name) not in missing)
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """What lists are worth that were served in one way, over the users of the table."""

    way: Way
    scores: Mapping[str, Estimate]
    """By name, one of ``list_scores.SCORES``."""


@dataclass(frozen=True, slots=True, eq=False)
class QualityTable:
    """A table. Row i of ``held_out`` and ``full_lists`` is of user ``users[i]``."""

    stages: Sequence[Mapping[str, Any]]
    """What the model is, but for its weights: see ``configs.served.described``."""
    digest: str
    """Of the weights."""
    ranker: str
    """The stage that the full model ranks all candidates by."""
    candidates: int
    """How many those are."""
    seed: int
    length: int
    """Of the lists of the configuration as it is: the k of recall@k."""
    full: Mapping[str, Estimate]
    """The full model's scores."""
    rows: Sequence[Row]
    users: NDArray[np.int64]
    held_out: NDArray[np.int64]
    full_lists: NDArray[np.int64]

    def row(self, wanted: Way) -> Row | None:
        """The row of a way, if it was measured."""
        return next((row for row in self.rows if row.way == wanted), None)


def write_table(path: Path, table: QualityTable) -> None:
    """Write the table whole or not at all. Raises OSError."""
    document = {
        "format": FORMAT,
        "stages": list(table.stages),
        "digest": table.digest,
        "ranker": table.ranker,
        "candidates": table.candidates,
        "seed": table.seed,
        "length": table.length,
        "full": scores_json(table.full),
        "rows": [row_json(row) for row in table.rows],
        "users": table.users.tolist(),
        "held_out": table.held_out.tolist(),
        "full_lists": table.full_lists.tolist(),
    }
    write_text(path, json.dumps(document, allow_nan=False) + "\n")


def read_table(path: Path) -> QualityTable:
    """Read and check a table. Raises QualityError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise QualityError(
            f"{path}: no such file; `delayline evaluate CONFIG --out {path.name}` writes it"
        ) from None
    except (OSError, ValueError) as error:
        raise QualityError(f"{path}: cannot be read as JSON: {error}; evaluate again") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise QualityError(f"{path}: format must be {FORMAT!r}, not {found!r}; evaluate again")
    try:
        return _table_of(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise QualityError(
            f"{path}: {type(error).__name__} at {error}; the file is not as `delayline evaluate` wrote it,"
            " evaluate again"
        ) from error


def _table_of(document: Mapping[str, Any]) -> QualityTable:
    table = QualityTable(
        stages=[dict(stage) for stage in document["stages"]],
        digest=str(document["digest"]),
        ranker=str(document["ranker"]),
        candidates=int(document["candidates"]),
        seed=int(document["seed"]),
        length=int(document["length"]),
        full=scores_of_json(document["full"]),
        rows=[row_of_json(line) for line in document["rows"]],
        users=np.array(document["users"], np.int64),
        held_out=np.array(document["held_out"], np.int64),
        full_lists=np.array(document["full_lists"], np.int64),
    )
    if not len(table.users) == len(table.held_out) == len(table.full_lists):
        raise ValueError("users, held_out and full_lists, which differ in length")
    if table.full_lists.ndim != 2 or not table.rows:
        raise ValueError("full_lists or rows, which hold too little")
    return table


def row_json(row: Row) -> dict[str, Any]:
    """A row in plain values."""
    return {
        "keep": dict(row.way.keep),
        "levels": dict(row.way.levels),
        "missing": list(row.way.missing),
        **scores_json(row.scores),
    }


def row_of_json(line: Mapping[str, Any]) -> Row:
    """The inverse. Raises KeyError, TypeError or ValueError."""
    return Row(way(line["keep"], line["levels"], line["missing"]), scores_of_json(line))


def scores_json(found: Mapping[str, Estimate]) -> dict[str, Any]:
    """Scores in plain values, by name."""
    return {name: found[name].to_json() for name in SCORES}


def scores_of_json(line: Mapping[str, Any]) -> dict[str, Estimate]:
    """The inverse. Raises KeyError, TypeError or ValueError."""
    found = {}
    for name in SCORES:
        each = line[name]
        found[name] = Estimate(
            float(each["value"]),
            *(None if each[end] is None else float(each[end]) for end in ("low", "high")),
        )
    return found
