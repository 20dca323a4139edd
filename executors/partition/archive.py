"""Reading ``.pt2`` archives without running anything that they hold.

``torch.export.load`` unpickles some parts (tensor subclasses, script objects, example inputs), loads
compiled libraries, lets sympy evaluate the text of symbolic sizes, and keeps guards as Python to be
compiled later. An archive with any such part is refused before torch sees it, and the guards are left
out; what remains is JSON and raw tensors.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from executors.partition.quiet import quiet

METADATA = "delayline.json"
"""The extra file that tells what a part takes, gives, and needs."""
_MODEL = "models/model.json"
_PAYLOADS = (
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
_EXAMPLES = "data/sample_inputs/model.pt"
_PLAIN = re.compile(
    r"(models/model\.json|data/(weights|constants)/model_\w+_config\.json|"
    r"data/weights/weight_\d+|data/constants/tensor_\d+|data/sample_inputs/model\.pt|"
    r"extra/[\w.-]+|archive_format|archive_version|byteorder|\.data/\w+|version)"
)
_TARGET = re.compile(
    r"torch\.ops\.\w+\.\w+(\.\w+)?|_operator\.\w+|math\.\w+|torch\.sym_\w+|torch\._sym_\w+"
)
_SYMBOL = re.compile(r"[suz]\w{0,8}?\d+")
_WORDS = re.compile(
    r"Symbol|Integer|Float|Rational|Max|Min|Mul|Add|Pow|Mod|FloorDiv|CeilDiv|CleanDiv|"
    r"PythonMod|ModularIndexing|PowByNatural|IntTrueDiv|FloatTrueDiv|ToFloat|TruncToInt|"
    r"FloorToInt|CeilToInt|RoundToInt|Abs|Equality|Unequality|StrictLessThan|LessThan|"
    r"StrictGreaterThan|GreaterThan|And|Or|Not|Where|Identity|positive|integer|nonnegative|"
    r"real|True|False|oo|int_oo|precision"
)
_WORD = re.compile(r"[A-Za-z_]\w*")
_ARITHMETIC = re.compile(r"[\w\s()'+\-*/%,.<>=!&|~]*")


class ArchiveError(ValueError):
    """A file that is no archive, or one that would have to be trusted to be loaded."""


class Archive(NamedTuple):
    """What an archive holds."""

    program: torch.export.ExportedProgram
    metadata: dict[str, Any] | None
    """What :mod:`executors.partition.folder` wrote with it; None for an archive of other origin."""
    examples: tuple[tuple[Any, ...], dict[str, Any]] | None
    """Example inputs: args and kwargs."""


def load_archive(path: Path) -> Archive:
    """Load an exported program. Raises ArchiveError."""
    examples = _checked(path)
    extra = {METADATA: ""}
    try:
        with quiet():
            program = torch.export.load(path, extra_files=extra)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ArchiveError(
            f"{path} cannot be loaded by torch {torch.__version__}: {text}; export it again"
        ) from error
    program._guards_code = []
    return Archive(program, json.loads(extra[METADATA]) if extra[METADATA] else None, examples)


def read_metadata(path: Path) -> dict[str, Any] | None:
    """A part's own description, read without torch's loader. Raises ArchiveError."""
    with _opened(path) as file:
        names = {_inside(name): name for name in file.namelist()}
        if f"extra/{METADATA}" not in names:
            return None
        found: dict[str, Any] = json.loads(file.read(names[f"extra/{METADATA}"]))
        return found


def _checked(path: Path) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Look through the archive; its example inputs. Raises ArchiveError for what is not plain."""
    with _opened(path) as file:
        names = {_inside(name): name for name in file.namelist()}
        if _MODEL not in names:
            raise ArchiveError(f"{path} is no torch.export archive: it has no {_MODEL}")
        for name in names:
            if not _PLAIN.fullmatch(name):
                raise ArchiveError(
                    f"{path} holds {name}, which could run code when loaded; delayline loads archives"
                    " of plain tensors only"
                )
        for name in _PAYLOADS:
            payloads = json.loads(file.read(names[name])) if name in names else {"config": {}}
            for key, payload in payloads["config"].items():
                if payload.get("use_pickle"):
                    raise ArchiveError(
                        f"{path}: {key} is pickled, which could run code when loaded; export the model"
                        " with plain tensors"
                    )
        for what, text in _texts(json.loads(file.read(names[_MODEL]))):
            _check_text(path, what, text)
        return _examples(path, file.read(names[_EXAMPLES])) if _EXAMPLES in names else None


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ArchiveError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise ArchiveError(f"{path} is a folder; name the .pt2 file in it") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise ArchiveError(f"{path} is no torch.export archive: {error}") from error


def _inside(name: str) -> str:
    """The entry's name without the archive's own folder."""
    return name.partition("/")[2]


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """What torch would look up or evaluate: targets of calls, and symbolic expressions."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ("target", "expr_str") and isinstance(each, str):
                yield key, each
            yield from _texts(each)
        # Symbols are keys here, and sympy reads those too.
        for key in value.get("range_constraints") or ():
            yield "expr_str", key
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _check_text(path: Path, what: str, text: str) -> None:
    if what == "expr_str":
        words = _WORD.findall(text)
        plain = bool(_ARITHMETIC.fullmatch(text)) and all(
            _WORDS.fullmatch(word) or _SYMBOL.fullmatch(word) for word in words
        )
    else:
        # A dotted target is looked up by torch; other targets are names of weights.
        plain = not text.startswith(("torch", "_operator", "math", "#")) or bool(
            _TARGET.fullmatch(text)
        )
    if not plain:
        raise ArchiveError(f"{path}: the graph holds {text[:80]!r}, which delayline does not load")


def _examples(path: Path, raw: bytes) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if not raw:
        return None
    try:
        found = torch.load(io.BytesIO(raw), weights_only=True)
    except Exception as error:
        raise ArchiveError(
            f"{path}: its example inputs are more than tensors, which could run code when loaded"
        ) from error
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict):
        return tuple(found[0]), found[1]
    return None
