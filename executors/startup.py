"""Bringing a pipeline up: what clients send, and the walk of a sample through all stages.

The walk runs real requests, stage by stage, on every replica. It warms up each worker on inputs that
its model will meet (zeros might not be valid ones), fails early where a model cannot run, and leaves
every replica with inputs on which a successor can be warmed up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from executors.payloads import Payloads
from executors.replica import Replica
from executors.slab import Columns
from executors.stage_model import ModelSource, TensorSpec
from executors.wiring import Wiring, WiringError
from policies.pipeline import Pipeline


def sample_clients(
    pipeline: Pipeline, sources: Sequence[ModelSource], rng: Generator, count: int
) -> Columns:
    """What ``count`` clients send: the samples of all stages without parents, together.

    Raises WiringError where two of them mean different things by one name.
    """
    columns: dict[str, NDArray[Any]] = {}
    for stage, source in zip(pipeline.stages, sources, strict=True):
        if stage.parents:
            continue
        for name, column in source.sample_inputs(rng, count).items():
            known = columns.setdefault(name, np.asarray(column))
            if len(column) != count or known.shape != column.shape or known.dtype != column.dtype:
                raise WiringError(
                    f"stage {stage.name}: its sample of {name!r} is {column.dtype} of shape "
                    f"{column.shape} where {known.dtype} of shape {(count, *known.shape[1:])} is due"
                )
    return columns


def client_specs(sample: Columns) -> dict[str, TensorSpec]:
    """Shapes and types of what clients send."""
    return {
        name: TensorSpec(tuple(column.shape[1:]), column.dtype.name)
        for name, column in sample.items()
    }


def warm_up(
    wiring: Wiring, replicas: Sequence[Sequence[Replica]], sample: Columns, count: int
) -> None:
    """Walk ``count`` sampled requests through all stages, warming up every replica. Raises WorkerError."""
    payloads = Payloads(wiring)
    payloads.admit(range(count), sample)
    for stage, row in enumerate(replicas):
        rows = row[0].memory.layout.rows
        for replica in row:
            payloads.gather(stage, range(min(rows, count)), replica.memory.inputs)
            replica.warm_inputs = _copies(replica.memory.inputs)
            replica.warm_up()
        for first in range(0, count, rows):
            requests = range(first, min(first + rows, count))
            payloads.gather(stage, requests, row[0].memory.inputs)
            row[0].run(len(requests))
            payloads.scatter(stage, requests, row[0].memory.outputs)


def _copies(columns: Mapping[str, NDArray[Any]]) -> Columns:
    return {name: column.copy() for name, column in columns.items()}
