"""A model, its example inputs, and its exported graph: what all of partitioning starts from."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from executors.partition.archive import load_archive
from executors.partition.checks import check_rows, check_state, run_once, unexportable, writes
from executors.partition.errors import PartitionError, in_short
from executors.partition.inputs import read_examples, rows_of, said
from executors.partition.naming import keys, output_names
from executors.partition.quiet import quiet

Args = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A model as a graph of functional operators on a batch of rows, a row a request."""

    name: str
    program: ExportedProgram
    """Without writes in place; parameters and buffers are inputs of its graph."""
    examples: Mapping[str, Tensor]
    """Example inputs by name, each (rows, ...)."""
    outputs: Mapping[str, str]
    """Name of each output to the node of the graph that makes it."""
    in_place: tuple[str, ...]
    """Operators that wrote in place, and where; they are copies now."""
    module: nn.Module
    """The model itself, for its answers."""
    spec: Any
    """How the inputs are nested, as torch's pytree has it."""

    @property
    def weights(self) -> dict[str, tuple[str, Tensor]]:
        """Node of the graph to (name in the model, tensor): parameters, buffers and constants."""
        found = {}
        for spec in self.program.graph_signature.input_specs:
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
                # A buffer that is not persistent is among the constants.
                name = str(spec.target)
                state = self.program.state_dict
                value = state[name] if name in state else self.program.constants[name]
                found[spec.arg.name] = (name, value.detach())
            elif spec.kind is InputKind.CONSTANT_TENSOR:
                name = str(spec.target)
                found[spec.arg.name] = (name, self.program.constants[name].detach())
        return found

    def answers(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the whole model answers, by name of the output."""
        args, kwargs = pytree.tree_unflatten([inputs[name] for name in self.examples], self.spec)
        with torch.inference_mode():
            leaves = pytree.tree_leaves(self.module(*args, **kwargs))
        return dict(zip(self.outputs, leaves, strict=True))


def capture(model: str, rows: int, examples: Path | None = None) -> Captured:
    """Export the model that ``model`` names, on ``rows`` example rows.

    ``model`` is a ``.pt2`` archive, or ``package.module:factory`` where ``factory()`` returns the module
    and its example inputs, as ``(module, args)`` or ``(module, args, kwargs)``. Every input is a tensor
    whose first dimension is the rows, one a request; as many rows as are missing are repeated. A
    safetensors file of ``examples`` by name takes the place of the archive's or the factory's.

    Raises PartitionError, ArchiveError.
    """
    if model.endswith(".pt2") or Path(model).is_file():
        return _from_archive(Path(model), rows, examples)
    return _from_factory(model, rows, examples)


def _from_factory(text: str, rows: int, file: Path | None) -> Captured:
    made = _called(text)
    wanted = "factory() must return (module, args) or (module, args, kwargs)"
    if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[0], nn.Module):
        raise PartitionError(f"{text}: {wanted}, not {type(made).__name__}")
    module, args = made[0].eval(), made[1]
    kwargs = made[2] if len(made) == 3 else {}
    if not isinstance(args, tuple | list) or not isinstance(kwargs, dict):
        raise PartitionError(f"{text}: {wanted}, args a tuple and kwargs a dict")
    given = _by_argument(text, module, tuple(args), kwargs)
    kwargs = {name: kwargs[name] for name in given if name in kwargs}
    names = ["_".join(keys(path)) for path, _ in pytree.tree_leaves_with_path(given)]
    leaves, spec = pytree.tree_flatten((tuple(args), kwargs))
    tensors = rows_of(text, dict(zip(names, leaves, strict=True)), rows)
    args, kwargs = pytree.tree_unflatten(list(tensors.values()), spec)
    run_once(text, module, args, kwargs)
    dim = Dim("rows")
    shapes = pytree.tree_map(lambda _: {0: dim}, given)
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)
        except Exception as error:
            raise PartitionError(unexportable(text, error)) from error
    return _captured(text, program, list(tensors.values()), file, module)


@contextlib.contextmanager
def _working_folder_first() -> Iterator[None]:
    """Modules in the working folder can be imported within, as ``python -m`` has it."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _by_argument(
    text: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The example inputs by the names of forward's arguments, in their order."""
    try:
        return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise PartitionError(f"{text}: forward does not take its example inputs: {error}") from None


def _called(text: str) -> Any:
    module_name, colon, name = text.partition(":")
    if not colon or not module_name or not name.isidentifier():
        raise PartitionError(
            f"{text!r} is neither a .pt2 file that is there nor `package.module:factory`"
        )
    try:
        with _working_folder_first():
            factory = getattr(importlib.import_module(module_name), name)
    except ImportError as error:
        raise PartitionError(f"{text}: module {module_name} cannot be imported: {error}") from error
    except AttributeError:
        raise PartitionError(f"{text}: module {module_name} has no {name}") from None
    try:
        with torch.random.fork_rng(devices=[]):
            return factory()
    except Exception as error:
        raise PartitionError(f"{text} raised {type(error).__name__}: {in_short(error)}") from error


def _from_archive(path: Path, rows: int, file: Path | None) -> Captured:
    archive = load_archive(path)
    if archive.metadata is not None and archive.metadata.get("weights"):
        raise PartitionError(f"{path} is a part of a partition; give the whole model")
    if archive.examples is None and file is None:
        raise PartitionError(f"{path} holds no example inputs; give them with --examples FILE")
    program = archive.program
    names = list(program.graph_signature.user_inputs)
    leaves = pytree.tree_leaves(archive.examples) if archive.examples is not None else []
    if file is not None:
        leaves = list(read_examples(file, names).values())
    if len(leaves) != len(names):
        raise PartitionError(f"{path}: {len(names)} inputs, but {len(leaves)} example inputs")
    tensors = rows_of(str(path), dict(zip(map(str, names), leaves, strict=True)), rows)
    check_rows(str(path), program)
    module = program.module(check_guards=False)
    args, kwargs = pytree.tree_unflatten(list(tensors.values()), program.call_spec.in_spec)
    run_once(str(path), module, args, kwargs)
    return _captured(str(path), program, list(tensors.values()), None, module)


def _captured(
    text: str, program: ExportedProgram, tensors: list[Tensor], file: Path | None, module: nn.Module
) -> Captured:
    check_rows(text, program)
    in_place = writes(text, program)
    with quiet(), torch.no_grad():
        functional = program.run_decompositions({})
    check_state(text, functional)
    names = [str(name) for name in functional.graph_signature.user_inputs]
    examples = dict(zip(names, tensors, strict=True))
    if file is not None:
        given = rows_of(str(file), read_examples(file, names), len(tensors[0]))
        for name, tensor in given.items():
            if tensor.shape[1:] != examples[name].shape[1:] or tensor.dtype != examples[name].dtype:
                raise PartitionError(
                    f"{file}: {name!r} is {said(tensor)} a row where the model takes"
                    f" {said(examples[name])}"
                )
        examples = given
    return Captured(
        text,
        functional,
        examples,
        dict(zip(output_names(functional), functional.graph_signature.user_outputs, strict=True)),
        in_place,
        module,
        functional.call_spec.in_spec,
    )
