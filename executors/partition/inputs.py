"""Example inputs: a row a request, as many as are wanted, and random ones like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from executors.partition.errors import PartitionError


def rows_of(text: str, leaves: Mapping[str, Any], rows: int) -> dict[str, Tensor]:
    """Example inputs with exactly ``rows`` rows, repeated where there are fewer. Raises PartitionError for
    what has no rows.
    """
    found: dict[str, Tensor] = {}
    have = None
    for name, value in leaves.items():
        if not isinstance(value, Tensor):
            raise PartitionError(
                f"{text}: example input {name} is {type(value).__name__}; all inputs must be tensors,"
                " so build what is constant into the model"
            )
        if value.ndim == 0 or len(value) == 0:
            raise PartitionError(
                f"{text}: example input {name} has shape {list(value.shape)}; its first dimension must"
                " be the rows, one or more"
            )
        have = len(value) if have is None else have
        if len(value) != have:
            raise PartitionError(
                f"{text}: example input {name} has {len(value)} rows where the first has {have}; all"
                " have a row for each request"
            )
        found[name] = value.detach().cpu()[torch.arange(rows) % have]
    if not found:
        raise PartitionError(
            f"{text}: the model takes no inputs; a stage needs a tensor to work on"
        )
    return found


def said(tensor: Tensor) -> str:
    """Type and shape of a row, in words."""
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape[1:])}"


def read_examples(file: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """The example inputs in a safetensors file, in the order of ``names``. Raises PartitionError."""
    try:
        found = load_tensors(file.read_bytes())
    except FileNotFoundError:
        raise PartitionError(f"there is no file {file}") from None
    except (OSError, SafetensorError) as error:
        raise PartitionError(f"{file} cannot be read as safetensors: {error}") from error
    for name in names:
        if name not in found:
            raise PartitionError(
                f"{file} has no tensor {name!r}, which the model takes; it has:"
                f" {', '.join(sorted(found)) or 'none'}"
            )
    return {name: found[name] for name in names}
