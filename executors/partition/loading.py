"""An archive as a stage's model: a part of a partition, or a whole model that was exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_arrays
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.utils import _pytree as pytree

from executors.partition.archive import Archive, ArchiveError, load_archive, read_metadata
from executors.partition.checks import check_rows, check_state, inputs_of
from executors.partition.folder import FORMAT, spec
from executors.partition.naming import output_names
from executors.stage_model import TensorSpec


class ExportedModel:
    """A program as the executor calls it."""

    def __init__(
        self,
        program: ExportedProgram,
        leading: Sequence[Tensor],
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._leading = tuple(leading)
        # The graph's own code, without the checks that torch puts before it: wiring has made them.
        self._run: fx.GraphModule = program.graph_module

    def __call__(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run the graph on a batch."""
        results = self._run(*self._leading, *(batch[name] for name in self.inputs))
        return dict(zip(self.outputs, results, strict=True))


def load_model(path: Path, device: str) -> ExportedModel:
    """Load an archive onto a device. Raises ArchiveError for one that is no stage's model."""
    archive = load_archive(path)
    if archive.metadata is not None:
        return _part(path, archive, archive.metadata, device)
    return _whole(path, archive, device)


def _part(path: Path, archive: Archive, metadata: Mapping[str, Any], device: str) -> ExportedModel:
    if metadata.get("format") != FORMAT:
        raise ArchiveError(
            f"{path} is a part of format {metadata.get('format')!r}, not {FORMAT!r}; partition again"
        )
    file = path.parent / Path(metadata["weights_file"]).name
    weights = _weights(file, metadata["weights"])
    wanted = [node for node in archive.program.graph.nodes if node.op == "placeholder"]
    for name, weight, node in zip(metadata["weights"], weights, wanted, strict=False):
        expected = node.meta["val"]
        if weight.shape != expected.shape or weight.dtype != expected.dtype:
            raise ArchiveError(
                f"{file}: {name!r} is {weight.dtype} of shape {list(weight.shape)}; {path.name} takes"
                f" {expected.dtype} of shape {list(expected.shape)}: they are of different partitions"
            )
    return ExportedModel(
        _moved(archive.program, device),
        [weight.to(device) for weight in weights],
        _specs(metadata["inputs"]),
        _specs(metadata["outputs"]),
    )


def _whole(path: Path, archive: Archive, device: str) -> ExportedModel:
    program = archive.program
    check_rows(str(path), program)
    check_state(str(path), program)
    program = _moved(program, device)
    leading = [
        program.state_dict[s.target]
        if s.target in program.state_dict
        else program.constants[s.target]
        for s in program.graph_signature.input_specs
        if s.target is not None
    ]
    results = next(node for node in program.graph.nodes if node.op == "output").args[0]
    return ExportedModel(
        program,
        leading,
        _specs({node.name: spec(node.meta["val"]) for node in inputs_of(program)}),
        _specs(
            {
                name: spec(node.meta["val"])
                for name, node in zip(output_names(program), results, strict=True)
            }
        ),
    )


def _weights(file: Path, names: Sequence[str]) -> list[Tensor]:
    try:
        with safe_open(file, "pt") as stored:
            # Copies lie where torch would put them; kernels sum in another order where memory is not
            # aligned.
            return [stored.get_tensor(name).clone() for name in names]
    except FileNotFoundError:
        raise ArchiveError(f"there is no {file}, which holds the weights of its parts") from None
    except (OSError, SafetensorError) as error:
        raise ArchiveError(f"{file} cannot be read as the parts' weights: {error}") from error


def _moved(program: ExportedProgram, device: str) -> ExportedProgram:
    return program if torch.device(device).type == "cpu" else move_to_device_pass(program, device)


def _specs(found: Mapping[str, Mapping[str, Any]]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(tuple(each["shape"]), each["dtype"]) for name, each in found.items()}


def examples_of(path: Path) -> dict[str, NDArray[Any]]:
    """Example inputs by name: of the whole model, for a part of one. Raises ArchiveError for none."""
    metadata = read_metadata(path)
    if metadata is not None:
        file = path.parent / Path(metadata["examples_file"]).name
        try:
            return dict(load_arrays(file.read_bytes()))
        except (OSError, SafetensorError) as error:
            raise ArchiveError(f"{file} cannot be read as example inputs: {error}") from error
    archive = load_archive(path)
    if archive.examples is None:
        raise ArchiveError(f"{path} holds no example inputs, so that nobody knows what to send")
    leaves = pytree.tree_leaves(archive.examples)
    names = [node.name for node in inputs_of(archive.program)]
    return {name: leaf.numpy() for name, leaf in zip(names, leaves, strict=True)}
