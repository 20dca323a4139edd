"""The exported graph as a graph of costs: which operators may be apart, and what passes between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from executors.partition.capture import Captured
from executors.partition.checks import inputs_of
from executors.partition.errors import PartitionError, line_of, module_of
from policies.partition.graph import Contraction, CostGraph, contract
from policies.partition.graph import Tensor as Passed

_LOOKUPS = ("embedding", "_embedding", "gather", "index", "take")
_NEUTRAL = (
    "view", "reshape", "unsqueeze", "squeeze", "transpose", "permute", "select", "slice", "flatten",
    "expand", "clone", "getitem", "unbind", "split", "chunk", "contiguous", "t.default", "_to_copy", "to.",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ModelGraph:
    """The operators that work on requests, in order of execution, and what may be cut.

    Operators that work on weights and sizes alone are no nodes: every part that needs them repeats them.
    """

    captured: Captured
    nodes: tuple[fx.Node, ...]
    row_bytes: Mapping[str, int]
    """By name of a node whose value can pass from stage to stage, the bytes of a row."""
    ties: tuple[tuple[int, int], ...]
    """Nodes that must lie in one part."""
    kept_whole: tuple[str, ...]
    """What cannot be cut, and why, in words."""

    def costs(self, costs_ns: Sequence[float], rows: int) -> Contraction:
        """The graph of what can be apart, for batches of ``rows``, given each node's cost."""
        place = {node.name: number for number, node in enumerate(self.nodes)}
        tensors = []
        for number, node in enumerate(self.nodes):
            users = sorted({place[user.name] for user in node.users if user.name in place})
            if users:
                size = self.row_bytes.get(node.name, 0) * rows
                tensors.append(Passed(number, tuple(users), size))
        return contract(CostGraph(tuple(costs_ns), tuple(tensors)), self.ties)

    def kinds(self, contraction: Contraction) -> list[str]:
        """``lookup`` or ``dense`` for each node of the contraction."""
        kind = _kinds(self.nodes)
        single = [kind[node.name] for node in self.nodes]
        mine: list[set[str]] = [set() for _ in range(len(contraction.graph))]
        for group, one in zip(contraction.group_of, single, strict=True):
            mine[group].add(one)
        return ["lookup" if kinds == {"lookup"} else "dense" for kinds in mine]

    def matching(self, name: str) -> list[int]:
        """The nodes that a name means: one by its own name, or all of a module, by its path."""
        found = [
            number
            for number, node in enumerate(self.nodes)
            if node.name == name or f"{module_of(node)}.".startswith(f"{name}.")
        ]
        if not found:
            modules = dict.fromkeys(filter(None, map(module_of, self.nodes)))
            raise PartitionError(
                f"no node and no module of {self.captured.name} is called {name!r}; its modules:"
                f" {', '.join(modules) or 'none'}; its nodes are told by --list"
            )
        return found


def graph_of(captured: Captured) -> ModelGraph:
    """Look through the exported graph. Raises PartitionError for an output that holds no rows."""
    inputs = inputs_of(captured.program)
    rows = inputs[0].meta["val"].shape[0].node.expr
    working = {node.name for node in inputs}
    nodes: list[fx.Node] = []
    for node in captured.program.graph.nodes:
        if node.op != "call_function" or _is_size(node, rows):
            continue
        if any(each.name in working for each in node.all_input_nodes):
            working.add(node.name)
            nodes.append(node)
    row_bytes = {node.name: size for node in nodes if (size := _row_bytes(node, rows)) is not None}
    place = {node.name: number for number, node in enumerate(nodes)}
    _check_outputs(captured, {*row_bytes, *(node.name for node in inputs)})
    kept: dict[str, str] = {}
    ties = []
    for number, node in enumerate(nodes):
        users = [place[user.name] for user in node.users if user.name in place]
        if node.name not in row_bytes:
            ties += [(number, user) for user in users]
        if reason := _reason(node, rows):
            # What follows from it has the same reason.
            if not any(each.name in kept for each in node.all_input_nodes):
                kept[node.name] = f"{node.name} {line_of(node)}: {reason}"
            else:
                kept[node.name] = ""
        if not node.users:
            # An assertion stays beside what it asserts.
            ties += [
                (place[each.name], number) for each in node.all_input_nodes if each.name in place
            ]
    return ModelGraph(
        captured, tuple(nodes), row_bytes, tuple(ties), tuple(filter(None, kept.values()))
    )


def _check_outputs(captured: Captured, passing: set[str]) -> None:
    named = {node.name: node for node in captured.program.graph.nodes}
    for name, node in captured.outputs.items():
        if node not in passing:
            value = named[node].meta.get("val")
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise PartitionError(
                f"{captured.name}: output {name!r} {line_of(named[node])} has shape {shape}; a stage's"
                " outputs have a row for each request, of a fixed size and a type that numpy knows"
            )


def _is_size(node: fx.Node, rows: Any) -> bool:
    """Whether it is a number that follows from the number of rows alone."""
    value = node.meta.get("val")
    if isinstance(value, torch.SymInt):
        if node.target is torch.ops.aten.sym_size.int:
            return bool(value.node.expr == rows)
        return bool(value.node.expr.free_symbols <= rows.free_symbols)
    return isinstance(value, int)


def _row_bytes(node: fx.Node, rows: Any) -> int | None:
    """Bytes of a row, if the value is a tensor of rows of a fixed size; else None."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.ndim == 0:
        return None
    sizes: tuple[Any, ...] = tuple(value.shape)
    first, *rest = sizes
    if not isinstance(first, torch.SymInt) or first.node.expr != rows:
        return None
    if any(isinstance(size, torch.SymInt) for size in rest):
        return None
    try:
        np.dtype(str(value.dtype).removeprefix("torch."))
    except TypeError:
        return None
    return int(np.prod(rest, dtype=np.int64)) * value.element_size()


def _reason(node: fx.Node, rows: Any) -> str:
    """Why a value cannot pass, where that is worth telling: not for a view on the way."""
    values: Any = node.meta.get("val")
    target = str(node.target)
    if "cond" in target or "while_loop" in target or "map_impl" in target:
        return "control flow that depends on the data"
    sizes: list[Any] = [
        size
        for value in (values if isinstance(values, tuple | list) else [values])
        if isinstance(value, Tensor)
        for size in value.shape
    ]
    if isinstance(values, torch.SymInt | torch.SymFloat | torch.SymBool):
        return "a number that depends on the data"
    for size in sizes:
        if isinstance(size, torch.SymInt) and not size.node.expr.free_symbols <= rows.free_symbols:
            return "its size depends on the data"
    if isinstance(values, Tensor) and not any(isinstance(size, torch.SymInt) for size in sizes):
        return "it has no rows: it mixes requests"
    return ""


def _kinds(nodes: Sequence[fx.Node]) -> dict[str, str]:
    """``lookup`` for what reads rows of a table of weights, ``dense`` for the rest; what only rearranges
    goes with what it rearranges, or with what it feeds where it rearranges an input.
    """
    inside = {node.name for node in nodes}
    found: dict[str, str] = {}
    for node in nodes:
        before = {found[each.name] for each in node.all_input_nodes if each.name in inside}
        name = str(node.target).removeprefix("aten.")
        table = node.args[0] if node.args else None
        if name.startswith(_LOOKUPS):
            reads = isinstance(table, fx.Node) and table.op == "placeholder"
            found[node.name] = "lookup" if reads else "dense"
        elif any(neutral in name for neutral in _NEUTRAL):
            found[node.name] = before.pop() if len(before) == 1 else "dense" if before else ""
        else:
            found[node.name] = "dense"
    for node in reversed(nodes):
        if not found[node.name]:
            after = {found[user.name] for user in node.users if user.name in inside}
            found[node.name] = "lookup" if after == {"lookup"} else "dense"
    return found
