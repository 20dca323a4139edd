"""What is said of models that cannot be partitioned, and where in their source that lies."""

from __future__ import annotations

import linecache
import os
import re
from types import TracebackType
from typing import Any

import torch

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_TORCH = os.path.dirname(torch.__file__)
_HERE = os.path.dirname(os.path.abspath(__file__))


class PartitionError(ValueError):
    """A model that cannot be partitioned; names the model, the node or line, and what to do."""


def line_of(node: Any) -> str:
    """Where the model's source makes a node, as ``at FILE:LINE``; the module's name where it is not kept."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if not _is_torch(frame[0])] or frames
    if own:
        file, line, _ = own[-1]
        return f"at {os.path.basename(file)}:{line}"
    module = module_of(node)
    return f"in {module}" if module else "in forward"


def module_of(node: Any) -> str:
    """The module that a node belongs to, by its path in the model; empty for the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path and not path.startswith("_empty")]
    return str(paths[-1]).removeprefix("L['self'].") if paths else ""


def place_of(error: BaseException) -> str:
    """The last line of the model's own source that an exception went through, with its text."""
    found = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        if not file.startswith("<") and not _is_torch(file):
            text = linecache.getline(file, line).strip()
            found = f"at {os.path.basename(file)}:{line}" + (f" `{text}`" if text else "")
        trace = trace.tb_next
    return found


def in_short(error: BaseException) -> str:
    """The first sentence of what torch says, without its advice."""
    text = str(error).strip().split("\n", maxsplit=1)[0]
    return " ".join(text.split())[:300] or type(error).__name__


def _is_torch(file: str) -> bool:
    return os.path.abspath(file).startswith((_TORCH, _HERE))
