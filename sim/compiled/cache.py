"""Compiled functions, kept on disk from one process to the next.

numba keeps what it compiled beside a function's file and believes it for as long as that file does not
change, whatever becomes of the functions that it calls. So each function that is to be kept gets a small
file of its own, whose name holds a digest of all that went into it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import numba

from configs.atomic import write_text
from sim.compiled import notice
from sim.compiled.jit import entry

LOOP_NAME = "loop"
"""The function whose compilation is long enough to be told of."""

_compiling = threading.RLock()
"""numba compiles one function at a time anyway; this keeps two threads from compiling the same."""


def folder() -> Path:
    """Where compiled functions are kept: ``DELAYLINE_CACHE``, or below the user's folder for caches."""
    named = os.environ.get("DELAYLINE_CACHE")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "delayline"


def kept(
    name: str, text: str, names: Mapping[str, object], signature: object, digest: str
) -> Callable[..., Any]:
    """The function ``name`` of a module with this text, in which ``names`` are known, compiled for a
    signature; ``digest`` stands for all that it depends on. Raises numba's errors where it does not
    compile.
    """
    whole = hashlib.sha256(f"{numba.__version__}\n{signature}\n{digest}\n{text}".encode())
    with _compiling:
        function, cached, known = _function(name, text, names, whole.hexdigest()[:20])
        if name == LOOP_NAME and not known:
            notice.listener("compiling the simulator for this machine; it takes a while, once")
        return entry(function, signature, cached)


def _function(
    name: str, text: str, names: Mapping[str, object], digest: str
) -> tuple[Callable[..., Any], bool, bool]:
    """The function, whether its file is there to keep the compiled form beside, and whether it was."""
    file = folder() / f"{name}_{digest}.py"
    known = False
    try:
        known = file.exists()
        if not known:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, text)
        cached = os.access(file.parent, os.W_OK)
    except OSError:
        file = Path(tempfile.mkdtemp()) / file.name
        file.write_text(text)
        cached = False
    spec = importlib.util.spec_from_file_location(f"delayline_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {file}")
    module = importlib.util.module_from_spec(spec)
    vars(module).update(names)
    sys.modules[spec.name] = module  # what is kept names the module that it is of
    spec.loader.exec_module(module)
    function: Callable[..., Any] = getattr(module, name)
    return function, cached, known


@functools.cache
def sources() -> str:
    """A digest of the compiled driver's own sources."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\n".join(file.read_bytes() for file in files)).hexdigest()


def digest_of(code: CodeType) -> str:
    """What a function does, as text: its instructions, constants and the names that it uses."""
    constants = [
        digest_of(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts
    ]
    return f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames}"
