"""Which tensor of which stage feeds which input: the graph of a pipeline's data, checked once.

A stage takes its inputs by name. A name means the output of the nearest stage before it that puts it
out, or else what the client sent under that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from executors.stage_model import TensorSpec
from policies.pipeline import Pipeline

CLIENT = -1
"""The producer of what a client sends."""


class WiringError(ValueError):
    """The stages' tensors do not fit together; names the stages, the tensor, and what is there."""


@dataclass(frozen=True, slots=True)
class ModelSpecs:
    """What a loaded model takes and gives."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


Column = tuple[int, str]
"""(producer: index of a stage or ``CLIENT``, name): a tensor that requests carry along."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where everything comes from and goes to. Shapes hold no -1."""

    columns: Mapping[Column, TensorSpec]
    """Every tensor that is kept for a later stage or for the answer."""
    inputs: tuple[Mapping[str, Column], ...]
    """Per stage, input name to the column that provides it."""
    models: tuple[ModelSpecs, ...]
    """Per stage, its tensors with all dimensions known."""
    answers: Mapping[str, Column]
    """Name in the answer to column: the outputs of the stages that nothing follows. Where two of them
    share a name, it is ``stage.name``."""

    @property
    def client(self) -> Mapping[str, TensorSpec]:
        """What a client has to send."""
        return {name: spec for (producer, name), spec in self.columns.items() if producer == CLIENT}


def wire(
    pipeline: Pipeline, models: Sequence[ModelSpecs], client: Mapping[str, TensorSpec]
) -> Wiring:
    """Connect the stages, given what a client sends. Raises WiringError."""
    for stage in pipeline.stages:
        if stage.partial:
            raise WiringError(
                f"stage {stage.name} goes on before all branches are done (quorum or deadline of its"
                " merge), which only a simulation does so far; leave the merge out of a real run"
            )
    index = {stage.name: number for number, stage in enumerate(pipeline.stages)}
    before = _ancestors(pipeline, index)
    known: dict[Column, TensorSpec] = {(CLIENT, name): spec for name, spec in client.items()}
    used: dict[Column, TensorSpec] = {}
    inputs, resolved = [], []
    for number, stage in enumerate(pipeline.stages):
        columns, specs = {}, {}
        for name, spec in models[number].inputs.items():
            column = _provider(pipeline, before, known, number, name)
            specs[name] = _fit(stage.name, name, spec, _said(pipeline, column), known[column])
            columns[name] = column
            used[column] = known[column]
        for name, spec in models[number].outputs.items():
            _check_output(stage.name, name, spec)
            known[number, name] = spec
        inputs.append(columns)
        resolved.append(replace(models[number], inputs=specs))
    answers = _answers(pipeline, models)
    used.update({column: known[column] for column in answers.values()})
    return Wiring(used, tuple(inputs), tuple(resolved), answers)


def _ancestors(pipeline: Pipeline, index: Mapping[str, int]) -> list[set[int]]:
    before: list[set[int]] = []
    for stage in pipeline.stages:
        parents = {index[parent] for parent in stage.parents}
        before.append(parents.union(*(before[parent] for parent in parents)))
    return before


def _provider(
    pipeline: Pipeline,
    before: Sequence[set[int]],
    known: Mapping[Column, TensorSpec],
    number: int,
    name: str,
) -> Column:
    """The nearest stage before this one that puts the name out, else the client."""
    givers = [other for other in before[number] if (other, name) in known]
    nearest = [one for one in givers if not any(one in before[other] for other in givers)]
    stage = pipeline.stages[number].name
    if len(nearest) > 1:
        names = " and ".join(pipeline.stages[one].name for one in sorted(nearest))
        raise WiringError(
            f"stage {stage} takes {name!r}, which {names} both put out on different branches; "
            "give one of them another name"
        )
    if nearest:
        return nearest[0], name
    if (CLIENT, name) in known:
        return CLIENT, name
    there = sorted({key for producer, key in known if producer in before[number] | {CLIENT}})
    raise WiringError(
        f"stage {stage} takes {name!r}, which no stage before it puts out and no client sends; "
        f"there is: {', '.join(there) or 'nothing'}"
    )


def _said(pipeline: Pipeline, column: Column) -> str:
    return "the client" if column[0] == CLIENT else f"stage {pipeline.stages[column[0]].name}"


def _fit(stage: str, name: str, wanted: TensorSpec, giver: str, given: TensorSpec) -> TensorSpec:
    """What is given, if it is what is wanted."""
    fits = len(wanted.shape) == len(given.shape) and all(
        want in (-1, have) for want, have in zip(wanted.shape, given.shape, strict=True)
    )
    if not fits or np.dtype(wanted.dtype) != np.dtype(given.dtype):
        raise WiringError(
            f"stage {stage} takes {name!r} as {wanted.dtype} of shape {wanted.shape} a request; "
            f"{giver} gives {given.dtype} of shape {given.shape}"
        )
    return given


def _check_output(stage: str, name: str, spec: TensorSpec) -> None:
    if any(size < 0 for size in spec.shape):
        raise WiringError(
            f"stage {stage} puts out {name!r} of shape {spec.shape}; "
            "an output's size must be known when the model is loaded"
        )
    if not _shared_memory_has(spec.dtype):
        raise WiringError(
            f"stage {stage} puts out {name!r} as {spec.dtype}, which shared memory has no type for; "
            "convert it in the model, for example to float32"
        )


def _shared_memory_has(dtype: str) -> bool:
    """Whether it is one of numpy's own: other packages teach it more, which torch does not share."""
    try:
        return np.dtype(dtype).kind in "biufc"
    except TypeError:
        return False


def _answers(pipeline: Pipeline, models: Sequence[ModelSpecs]) -> dict[str, Column]:
    followed = {parent for stage in pipeline.stages for parent in stage.parents}
    sinks = [number for number, stage in enumerate(pipeline.stages) if stage.name not in followed]
    names = [name for number in sinks for name in models[number].outputs]
    return {
        name if names.count(name) == 1 else f"{pipeline.stages[number].name}.{name}": (number, name)
        for number in sinks
        for name in models[number].outputs
    }
