"""A weights folder: what lies in it, what its metadata says, and how it comes to be whole or not at all.

    recommender.json     format, sizes, fingerprint, evaluation
    models.safetensors   the tensors of what has been learned
    tables.safetensors   histories, profiles, seen items; item attributes, what goes together; ids

Reading the metadata needs no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from configs.atomic import folder_in_place, write_synced
from executors.recommender.sizes import Sizes

FORMAT = "delayline-recommender/2"
METADATA = "recommender.json"
MODELS = "models.safetensors"
TABLES = "tables.safetensors"


class WeightsError(ValueError):
    """Weights that cannot be read or written; the text names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What ``recommender.json`` says."""

    sizes: Sizes
    users: int
    trade: float
    fingerprint: str
    """Of data, hyperparameters, seed and format: equal where training would make the same weights."""
    evaluation: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        sizes = {field.name: getattr(self.sizes, field.name) for field in fields(Sizes)}
        return {
            "format": FORMAT,
            "sizes": sizes,
            "users": self.users,
            "trade": self.trade,
            "fingerprint": self.fingerprint,
            "evaluation": dict(self.evaluation),
        }


def read_metadata(folder: Path) -> Metadata:
    """Read and check ``recommender.json``; raises WeightsError where it is missing or another's."""
    path = folder / METADATA
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"{path}: no such file; {folder} is no weights folder. `delayline train` makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as JSON: {error}; train again") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise WeightsError(f"{path}: format must be {FORMAT!r}, not {found!r}; train again")
    try:
        return Metadata(
            sizes=Sizes(**{key: _count(key, value) for key, value in content["sizes"].items()}),
            users=_count("users", content["users"]),
            trade=float(content["trade"]),
            fingerprint=str(content["fingerprint"]),
            evaluation=dict(content["evaluation"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{path}: {type(error).__name__} at {error}; the file is not as training wrote it, train again"
        ) from error


def weights_digest(folder: Path) -> str:
    """A SHA-256 of the weights and the users' tables. Raises WeightsError where they are missing."""
    found = hashlib.sha256()
    for name in (MODELS, TABLES):
        try:
            found.update((folder / name).read_bytes())
        except OSError as error:
            raise WeightsError(
                f"{folder / name}: {error.strerror}; `delayline train` makes it"
            ) from error
    return found.hexdigest()


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}, which must be a whole number of at least 1, not {value!r}")
    return value


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put ``files`` in place of ``folder`` at once: it is the old one or the new one, never between.

    An existing folder is replaced only if it is empty or a weights folder. Raises WeightsError where
    it is something else, or where the files cannot be written (a full disk, no permission); nothing is
    left behind then.
    """
    check_target(folder)
    try:
        with folder_in_place(folder) as filled:
            filled.chmod(0o755)
            for name, content in files.items():
                write_synced(filled / name, content)
    except OSError as error:
        size = sum(map(len, files.values()))
        raise WeightsError(
            f"{folder}: cannot write the weights ({size} bytes): {error.strerror or error}"
        ) from error


def check_target(folder: Path) -> None:
    """Raises WeightsError where :func:`write_folder` would refuse ``folder``; to be asked before training."""
    if folder.exists() and not _replaceable(folder):
        raise WeightsError(
            f"{folder}: exists and is no weights folder; nothing in it was touched. Choose another place"
        )


def _replaceable(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return (folder / METADATA).is_file() or not any(folder.iterdir())
