"""Names of a program's outputs."""

from __future__ import annotations

import re
from typing import Any

from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

_KEY = re.compile(r"\w+")


def keys(path: Any) -> list[str]:
    """The keys on a way into nested inputs or outputs, as words."""
    return _KEY.findall(pytree.keystr(path))


def output_names(program: ExportedProgram) -> list[str]:
    """The keys where the model returns a dict, ``output`` for a single tensor, else ``output_0``, ..."""
    nodes = list(program.graph_signature.user_outputs)
    filled = pytree.tree_unflatten(list(range(len(nodes))), program.call_spec.out_spec)
    names = ["_".join(keys(path)) for path, _ in pytree.tree_leaves_with_path(filled)]
    if names == [""]:
        return ["output"]
    if all(name.isidentifier() for name in names) and len(set(names)) == len(names):
        return names
    return [f"output_{place}" for place in range(len(nodes))]
