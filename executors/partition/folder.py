"""A partition's folder: a ``.pt2`` for each part, and what they share beside them.

``weights.safetensors`` holds every weight once, however many names and parts use it;
``examples.safetensors`` what requests look like. A part's archive names both in its description.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from executors.partition.archive import METADATA
from executors.partition.capture import Captured
from executors.partition.parts import Part
from executors.partition.quiet import quiet

FORMAT = "delayline-part/1"
WEIGHTS = "weights.safetensors"
EXAMPLES = "examples.safetensors"


def write_parts(folder: Path, captured: Captured, parts: Sequence[Part]) -> None:
    """Write the parts and what they share into a folder that is there."""
    named = _stored_once(dict(captured.weights.values()))
    used = {named[weight][0] for part in parts for weight in part.weights}
    stored = {name: tensor for name, tensor in dict(named.values()).items() if name in used}
    for file, tensors in ((WEIGHTS, stored), (EXAMPLES, captured.examples)):
        plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        (folder / file).write_bytes(save_tensors(plain))
    for part in parts:
        description = {
            "format": FORMAT,
            "model": captured.name,
            "weights": [named[weight][0] for weight in part.weights],
            "weights_file": WEIGHTS,
            "examples_file": EXAMPLES,
            **_specs(part),
        }
        with quiet():
            torch.export.save(
                part.program,
                folder / f"{part.name}.pt2",
                extra_files={METADATA: json.dumps(description, indent=2)},
            )


def shared_weights(captured: Captured, parts: Sequence[Part]) -> dict[str, list[str]]:
    """The weights that several parts use: name to the names of the parts."""
    named = _stored_once(dict(captured.weights.values()))
    users: dict[str, list[str]] = {}
    for part in parts:
        for name in dict.fromkeys(named[weight][0] for weight in part.weights):
            users.setdefault(name, []).append(part.name)
    return {name: parts for name, parts in users.items() if len(parts) > 1}


def _stored_once(weights: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """For each name in the model the first name of the same memory, and the tensor."""
    first: dict[tuple[object, ...], str] = {}
    found = {}
    for name, tensor in weights.items():
        memory = tensor.untyped_storage().data_ptr(), tensor.storage_offset()
        key = (*memory, tensor.shape, tensor.stride(), tensor.dtype)
        own = name if tensor.numel() == 0 else first.setdefault(key, name)
        found[name] = own, weights[own]
    return found


def _specs(part: Part) -> dict[str, Any]:
    nodes = list(part.program.graph.nodes)
    placeholders = [node for node in nodes if node.op == "placeholder"][len(part.weights) :]
    results = next(node for node in nodes if node.op == "output").args[0]
    return {
        "inputs": {
            name: spec(node.meta["val"])
            for name, node in zip(part.inputs, placeholders, strict=True)
        },
        "outputs": {
            name: spec(node.meta["val"]) for name, node in zip(part.outputs, results, strict=True)
        },
    }


def spec(value: Tensor) -> dict[str, Any]:
    """Shape of a row and type, as JSON."""
    return {
        "shape": [int(size) for size in value.shape[1:]],
        "dtype": str(value.dtype).removeprefix("torch."),
    }
