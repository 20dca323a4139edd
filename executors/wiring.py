"""Which tensor of which stage feeds which input: the graph of a pipeline's data, checked once.

A stage takes its inputs by name. A name means the output of the nearest stage before it that puts it
out, or else what the client sent under that name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from executors.factory import FactoryError
from executors.merging import PRESENT, Joined, column_of, loaded
from executors.presence import Ways
from executors.stage_model import TensorSpec
from policies.merge import MergeError
from policies.merge_side_by_side import SideBySide
from policies.pipeline import Pipeline, Stage

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
    """Per stage, name in its memory to the column that provides it: its model's inputs, less those that its
    merge makes, and what the merge takes.
    """
    memory: tuple[Mapping[str, TensorSpec], ...]
    """Per stage, what goes into a replica's memory: :attr:`inputs`, and which branches are there."""
    joins: tuple[Joined | None, ...]
    """Per stage, the merge that makes some of its model's inputs; None where nothing is made."""
    fills: tuple[Mapping[str, float], ...]
    """Per stage, by name in :attr:`inputs`, what stands for a branch's tensor that is missing; else zero."""
    ways: Ways
    """The graph of the stages."""
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
    ways = Ways.of(pipeline)
    known: dict[Column, TensorSpec] = {(CLIENT, name): spec for name, spec in client.items()}
    used: dict[Column, TensorSpec] = {}
    inputs, memory, joins, resolved = [], [], [], []
    for number, stage in enumerate(pipeline.stages):
        wanted = models[number].inputs
        joined, columns = _join(pipeline, ways, known, number, wanted)
        specs = {}
        for name, spec in wanted.items():
            if joined is not None and name in joined.gives:
                specs[name] = _fit(stage.name, name, spec, "its merge", joined.gives[name])
                continue
            column = _provider(pipeline, ways.before, known, number, name)
            specs[name] = _fit(stage.name, name, spec, _said(pipeline, column), known[column])
            columns[name] = column
        for name, spec in models[number].outputs.items():
            _check_output(stage.name, name, spec)
            known[number, name] = spec
        lies = {name: known[column] for name, column in columns.items()}
        used.update({column: known[column] for column in columns.values()})
        inputs.append(columns)
        memory.append(lies if joined is None else {**lies, PRESENT: joined.present})
        joins.append(joined)
        resolved.append(replace(models[number], inputs=specs))
    answers = _answers(pipeline, models)
    used.update({column: known[column] for column in answers.values()})
    return Wiring(
        used,
        tuple(inputs),
        tuple(memory),
        tuple(joins),
        tuple(
            _fills(stage, ways, number, columns)
            for number, (stage, columns) in enumerate(zip(pipeline.stages, inputs, strict=True))
        ),
        ways,
        tuple(resolved),
        answers,
    )


def _join(
    pipeline: Pipeline,
    ways: Ways,
    known: Mapping[Column, TensorSpec],
    number: int,
    wanted: Mapping[str, TensorSpec],
) -> tuple[Joined | None, dict[str, Column]]:
    """The merge of a stage, and the columns that it takes by their names in the stage's memory."""
    stage = pipeline.stages[number]
    if stage.merge is None or isinstance(stage.merge, SideBySide):
        return None, {}
    seen = {
        pipeline.stages[parent].name: _seen(ways, known, parent) for parent in ways.parents[number]
    }
    common = [name for name in wanted if len({columns.get(name) for columns in seen.values()}) == 1]
    try:
        merge = loaded(stage.merge.how)
        specs = {
            branch: {name: known[column] for name, column in columns.items()}
            for branch, columns in seen.items()
        }
        fitted = merge.fit(specs, list(wanted), common)
    except (MergeError, FactoryError) as error:
        raise WiringError(f"stage {stage.name}, merge {stage.merge.kind}: {error}") from error
    takes = {
        branch: {name: column_of(branch, name) for name in names}
        for branch, names in fitted.takes.items()
    }
    columns = {
        column_of(branch, name): seen[branch][name]
        for branch, names in fitted.takes.items()
        for name in names
    }
    return Joined(merge, takes, fitted.gives), columns


def _seen(ways: Ways, known: Mapping[Column, TensorSpec], last: int) -> dict[str, Column]:
    """What a branch that ends in stage ``last`` puts out, by name: of the nearest stage that does."""
    line = ways.before[last] | {last}
    found: dict[str, Column] = {}
    for name in sorted({name for producer, name in known if producer in line}):
        givers = [other for other in line if (other, name) in known]
        nearest = [one for one in givers if not any(one in ways.before[other] for other in givers)]
        if len(nearest) == 1:
            found[name] = nearest[0], name
    return found


def _fills(
    stage: Stage, ways: Ways, number: int, columns: Mapping[str, Column]
) -> dict[str, float]:
    """What a merge's ``default`` says of tensors that pass on as they are."""
    found: dict[str, float] = {}
    for name, (producer, _) in columns.items():
        for branch, parent in zip(stage.parents, ways.parents[number], strict=True):
            on_it = producer == parent or producer in ways.before[parent]
            fill = stage.merge.fill(branch) if stage.merge is not None and on_it else None
            if fill is not None:
                found.setdefault(name, fill)
    return found


def _provider(
    pipeline: Pipeline,
    before: Sequence[Collection[int]],
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
            "give one of them another name, or merge them"
        )
    if nearest:
        return nearest[0], name
    if (CLIENT, name) in known:
        return CLIENT, name
    there = sorted({key for producer, key in known if producer in {*before[number], CLIENT}})
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
