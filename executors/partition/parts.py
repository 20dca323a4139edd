"""Cutting the exported graph: a program of its own for every part."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.utils import _pytree as pytree

from executors.partition.graph import ModelGraph


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A part of a model. Its program takes its weights first and its inputs after them."""

    name: str
    weights: tuple[str, ...]
    """Names in the model."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    program: ExportedProgram
    nodes: tuple[str, ...]
    after: tuple[str, ...]
    """The parts that it takes something from."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a part takes and gives: node of the graph by the name under which its value passes."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    after: tuple[int, ...]


def cut_out(graph: ModelGraph, part_of: Sequence[int], names: Sequence[str]) -> list[Part]:
    """The parts, given the part of each node of the graph."""
    home = {node.name: part for node, part in zip(graph.nodes, part_of, strict=True)}
    plans = _plans(graph, home, len(names))
    parts = []
    for number, plan in enumerate(plans):
        mine = [node for node in graph.nodes if home[node.name] == number]
        weights, module = _extract(graph, mine, plan)
        program = _program(module, graph.captured.program)
        known = graph.captured.weights
        parts.append(
            Part(
                names[number],
                tuple(known[weight][0] for weight in weights),
                tuple(plan.inputs),
                tuple(plan.outputs),
                program,
                tuple(node.name for node in mine),
                tuple(names[other] for other in plan.after),
            )
        )
    return parts


def _plans(graph: ModelGraph, home: Mapping[str, int], parts: int) -> list[_Plan]:
    """Who gives what to whom. What a part answers before the end passes through a part at the end, since
    only those give answers.
    """
    label = _labels(graph)
    inputs: list[dict[str, str]] = [{} for _ in range(parts)]
    outputs: list[dict[str, str]] = [{} for _ in range(parts)]
    after: list[set[int]] = [set() for _ in range(parts)]

    def take(part: int, node: str) -> None:
        inputs[part][label[node]] = node
        if node in home:
            outputs[home[node]][label[node]] = node
            after[part].add(home[node])

    for node in graph.nodes:
        for each in node.all_input_nodes:
            if each.name in label and home.get(each.name) != home[node.name]:
                take(home[node.name], each.name)
    ends = [part for part in range(parts) if not any(part in before for before in after)]
    for name, node_name in graph.captured.outputs.items():
        part = _end_for(home.get(node_name), ends, after)
        if home.get(node_name) != part:
            take(part, node_name)
        outputs[part][name] = node_name
    return [_Plan(inputs[part], outputs[part], tuple(sorted(after[part]))) for part in range(parts)]


def _labels(graph: ModelGraph) -> dict[str, str]:
    """The name under which each value passes: an input's own, a node's with nothing else of that name."""
    taken = {*graph.captured.examples, *graph.captured.outputs}
    label = {name: name for name in graph.captured.examples}
    answers: dict[str, str] = {}
    for name, node_name in graph.captured.outputs.items():
        answers.setdefault(node_name, name)
    for node in graph.nodes:
        own = f"{node.name}_" if node.name in taken else node.name
        label[node.name] = answers.get(node.name, own)
    return label


def _end_for(home: int | None, ends: Sequence[int], after: Sequence[set[int]]) -> int:
    """A part at the end that comes after ``home``, or is it."""
    if home is None:
        return ends[-1]
    reached = {home}
    for part in range(home + 1, len(after)):
        if after[part] & reached:
            reached.add(part)
    return next(part for part in reversed(ends) if part in reached)


def _extract(
    graph: ModelGraph, mine: Sequence[fx.Node], plan: _Plan
) -> tuple[list[str], fx.GraphModule]:
    """The part as a graph of its own, and the weights that it takes first."""
    known = graph.captured.weights
    rows_from = next(iter(plan.inputs.values()))
    names = {node.name: node for node in graph.captured.program.graph.nodes}
    inside = {node.name for node in graph.nodes}
    needed = _needed(mine, plan, names, inside)
    weights = [name for name in known if name in needed]
    new = fx.Graph()
    made: dict[str, fx.Node] = {}
    for name in (*weights, *plan.inputs.values()):
        made[name] = new.placeholder(name)
        made[name].meta["val"] = names[name].meta["val"]
    for node in graph.captured.program.graph.nodes:
        if node.name not in needed or node.name in made:
            continue
        if _is_rows(node, inside):
            # Any tensor of rows tells their number, so that no tensor passes for its size alone.
            made[node.name] = new.call_function(node.target, (made[rows_from], 0))
            made[node.name].meta = dict(node.meta)
        else:
            made[node.name] = new.node_copy(node, lambda each: made[each.name])
    new.output(tuple(made[name] for name in plan.outputs.values()))
    return weights, fx.GraphModule(graph.captured.program.graph_module, new)


def _is_rows(node: fx.Node, inside: Collection[str]) -> bool:
    """Whether it is the number of rows, asked of some tensor of them."""
    return node.target is torch.ops.aten.sym_size.int and node.name not in inside


def _needed(
    mine: Sequence[fx.Node], plan: _Plan, names: Mapping[str, fx.Node], inside: Collection[str]
) -> set[str]:
    """The part's nodes, and all that they take which comes from no other part."""
    given = set(plan.inputs.values())
    needed: set[str] = set()
    open_ = [*mine, *(names[name] for name in plan.outputs.values())]
    while open_:
        node = open_.pop()
        if node.name in needed or node.name in given:
            continue
        needed.add(node.name)
        if not _is_rows(node, inside):
            open_ += node.all_input_nodes
    return needed


def _program(module: fx.GraphModule, whole: ExportedProgram) -> ExportedProgram:
    """The part's graph as a program without state, on the same symbolic number of rows as the whole."""
    nodes = list(module.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    results = list(nodes[-1].args[0])
    signature = ExportGraphSignature(
        [InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None) for node in inputs],
        [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), None) for node in results],
    )
    in_spec = pytree.tree_structure((tuple(range(len(inputs))), {}))
    out_spec = pytree.tree_structure(tuple(range(len(results))))
    used = {symbol for node in nodes for symbol in _symbols(node.meta.get("val"))}
    call = ModuleCallSignature(
        [TensorArgument(node.name) for node in inputs],
        [TensorArgument(node.name) for node in results],
        in_spec,
        out_spec,
        [node.name for node in inputs],
    )
    return ExportedProgram(
        root=module,
        graph=module.graph,
        graph_signature=signature,
        state_dict={},
        range_constraints={
            symbol: limits for symbol, limits in whole.range_constraints.items() if symbol in used
        },
        module_call_graph=[ModuleCallEntry("", call)],
        constants={},
        verifiers=whole.verifiers,
    )


def _symbols(value: Any) -> Iterator[Any]:
    """The symbols in a value's sizes."""
    if isinstance(value, torch.SymInt | torch.SymBool | torch.SymFloat):
        yield from value.node.expr.free_symbols
    elif isinstance(value, torch.Tensor):
        for size in value.shape:
            yield from _symbols(size)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _symbols(each)
