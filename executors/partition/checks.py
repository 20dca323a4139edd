"""What a model must be so that it can be cut, each refusal with the node and the line that breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from executors.partition.errors import PartitionError, in_short, line_of, place_of


def run_once(text: str, module: nn.Module, args: Any, kwargs: Any) -> None:
    """Run the model on its example inputs. Raises PartitionError where it cannot."""
    try:
        with torch.inference_mode():
            module(*args, **kwargs)
    except Exception as error:
        raise PartitionError(f"{text} cannot run its example inputs: {_told(error)}") from error


def unexportable(text: str, error: BaseException) -> str:
    """Why a model does not export, and where."""
    where = place_of(error)
    said = str(error)
    if _caused_by(error, GuardOnDataDependentSymNode) or "data-dependent" in said.lower():
        what = (
            "control flow that depends on the data, which no graph holds; compute both ways and choose"
            " with torch.where"
        )
    elif "onstraint" in said and "rows" in said:
        what = (
            "the model fixes or limits the number of rows, along which requests are batched; take it"
            " from x.shape[0], which stays open, not from len(x)"
        )
    else:
        what = in_short(error)
    return (
        f"{text} cannot be exported: {where}: {what}"
        if where
        else f"{text} cannot be exported: {what}"
    )


def _told(error: BaseException) -> str:
    where = place_of(error)
    return f"{where}: {in_short(error)}" if where else in_short(error)


def check_rows(text: str, program: ExportedProgram) -> None:
    """Every input's first dimension must be the same free number of rows, the others fixed."""
    rows = None
    for node in inputs_of(program):
        value = node.meta["val"]
        sizes = value.shape
        if not sizes or not isinstance(sizes[0], torch.SymInt):
            raise PartitionError(
                f"{text}: input {node.name!r} has the fixed shape {list(sizes)}; its first dimension"
                " must be free, as requests are batched along it: export with dynamic_shapes="
                f"{{{node.name!r}: {{0: Dim('rows')}}}}"
            )
        symbol = sizes[0].node.expr
        rows = symbol if rows is None else rows
        if symbol != rows:
            raise PartitionError(
                f"{text}: input {node.name!r} has another number of rows than the first; export all"
                " with one Dim('rows')"
            )
        if any(isinstance(size, torch.SymInt) for size in sizes[1:]):
            raise PartitionError(
                f"{text}: input {node.name!r} has shape {list(sizes)}; only its first dimension, the"
                " rows, may be free, since requests lie in memory of a fixed size"
            )


def writes(text: str, program: ExportedProgram) -> tuple[str, ...]:
    """Operators that write in place, and where. Raises PartitionError for one that draws random numbers,
    or that writes to what outlives the request: a weight, a buffer, an input.
    """
    found = []
    for node in program.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        if torch.Tag.nondeterministic_seeded in node.target.tags and _is_random(node):
            raise PartitionError(
                f"{text} cannot be cut: {node.name} {line_of(node)} draws random numbers, so that parts"
                " could not be held against the whole"
            )
        if not node.target._schema.is_mutable:
            continue
        found.append(f"{node.name} {line_of(node)}")
        for root in _written(node):
            if root.op == "placeholder":
                raise PartitionError(_aliased(text, program, node, root))
    return tuple(found)


def check_state(text: str, program: ExportedProgram) -> None:
    """No output may be a new value of a weight, buffer or input, and nothing may be an opaque object."""
    for output in program.graph_signature.output_specs:
        if output.kind is not OutputKind.USER_OUTPUT:
            raise PartitionError(
                f"{text} cannot be cut: {output.arg.name} writes to {output.target!r} in place, which"
                " the next request would see; return the new value instead"
            )
    for spec in program.graph_signature.input_specs:
        if spec.kind in (InputKind.CUSTOM_OBJ, InputKind.TOKEN):
            raise PartitionError(
                f"{text} cannot be cut: it uses {spec.arg.name}, an object that is no tensor"
            )
    for node in program.graph.nodes:
        if node.op == "output":
            for result in node.args[0]:
                if not isinstance(result, fx.Node):
                    raise PartitionError(
                        f"{text}: one of its outputs is {result!r}, which is no tensor; leave it out"
                    )


def inputs_of(program: ExportedProgram) -> list[fx.Node]:
    """The nodes of the model's own inputs, in order. Raises PartitionError for one that is no tensor."""
    named = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    found = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            node = named.get(getattr(spec.arg, "name", ""))
            if node is None or not isinstance(node.meta.get("val"), torch.Tensor):
                raise PartitionError(
                    f"input {spec.arg} is no tensor; all inputs of a stage must be"
                )
            found.append(node)
    return found


def _written(node: fx.Node) -> Iterator[fx.Node]:
    """What the operator's written arguments are views of, in the end."""
    target: Any = node.target
    for place, argument in enumerate(target._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        root = node.kwargs.get(argument.name, node.args[place] if place < len(node.args) else None)
        while isinstance(root, fx.Node) and root.op == "call_function" and _may_view(root):
            root = root.args[0]
        if isinstance(root, fx.Node):
            yield root


def _may_view(node: fx.Node) -> bool:
    target = node.target
    return bool(
        isinstance(target, torch._ops.OpOverload)
        and target._schema.arguments
        and target._schema.arguments[0].alias_info is not None
        and node.args
    )


def _aliased(text: str, program: ExportedProgram, node: fx.Node, root: fx.Node) -> str:
    names = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs}
    what = names.get(root.name)
    what = f"{what!r}, which the next request would see" if what else f"its input {root.name!r}"
    return (
        f"{text} cannot be cut: {node.name} {line_of(node)} writes in place to {what};"
        " return the new value instead"
    )


def _is_random(node: fx.Node) -> bool:
    """Dropout that is off draws nothing, and attention draws only with dropout."""
    name = str(node.target)
    if "dropout" in name and "attention" not in name:
        return bool(node.args[2] if len(node.args) > 2 else True)
    if "attention" in name:
        return bool(node.kwargs.get("dropout_p", node.args[4] if len(node.args) > 4 else 0.0))
    return True


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
