"""Triton's ensembles: the graph of stages as steps whose tensors lead from one to the next.

A stage has an input for each stage that it comes after, and one output. Tensor names, types and shapes
are the models' own, which a configuration does not know: the ensemble is written with names to be
replaced. Rules are those of ``ValidateEnsembleSchedulingConfig`` in triton-inference-server/core.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.model import Config
from configs.servers.base import Remark, left_out, refused, to_fill_in
from policies.pipeline import topological

COMMENTS = (
    "The order of the stages. The keys of input_map and output_map are the models' own tensors:",
    "put in their names, and the types and shapes of REQUEST and the outputs.",
)
_REQUEST = "REQUEST"


def ensemble(config: Config, messages: Any) -> Any:
    """The graph as a ModelConfig of Triton's."""
    parents = config.parents()
    found = messages.ModelConfig(
        name=ensemble_name(config),
        platform="ensemble",
        # Triton takes no ensemble that allows more than one of its models does.
        max_batch_size=min(stage.max_batch for stage in config.stages),
    )
    fp32 = messages.TYPE_FP32
    found.input.add(name=_REQUEST, data_type=fp32, dims=[-1])
    inner = {name for each in parents.values() for name in each}
    for name in topological(parents):
        if name not in inner:
            found.output.add(name=_tensor(name), data_type=fp32, dims=[-1])
        step = found.ensemble_scheduling.step.add(model_name=name, model_version=-1)
        if not parents[name]:
            step.input_map["INPUT"] = _REQUEST
        for parent in parents[name]:
            key = "INPUT" if len(parents[name]) == 1 else f"INPUT_{parent}"
            step.input_map[key] = _tensor(parent)
        step.output_map["OUTPUT"] = _tensor(name)
    return found


def ensemble_name(config: Config) -> str:
    """The configuration's name as a folder can have it, and as no stage has."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", config.name)
    taken = {stage.name.lower() for stage in config.stages}
    while name.lower() in taken:
        name += "_pipeline"
    return name


def _tensor(stage: str) -> str:
    return f"{stage}_output"


def remarks(config: Config, name: str) -> Iterator[Remark]:
    """What the ensemble leaves to the reader."""
    yield to_fill_in(
        name,
        "tensor names, types and shapes of the ensemble: INPUT, OUTPUT and TYPE_FP32 [-1] stand for"
        " those of your models",
    )
    if len({stage.max_batch for stage in config.stages}) > 1:
        least = min(stage.max_batch for stage in config.stages)
        yield to_fill_in(
            name,
            f"a request to the ensemble brings {least} at most, the least max_batch; here every"
            " request is one",
        )


@dataclass(frozen=True, slots=True)
class Graph:
    """The stages of a repository in order, each with the keys that the order gives it."""

    stages: dict[str, dict[str, Any]]
    name: str = ""
    """Of the ensemble; empty where there is none."""
    remarks: tuple[Remark, ...] = ()


def read(graphs: Mapping[Path, Any], models: list[str]) -> Graph:
    """The graph of the one ensemble among ``graphs``; without one, ``models`` as they come.

    Raises ConfigError for several ensembles, and for one that Triton, or we, would not take.
    """
    if not graphs:
        return Graph({name: {} for name in models})
    if len(graphs) > 1:
        names = " and ".join(model.name for model in graphs.values())
        path = next(iter(graphs))
        raise refused(
            str(path.parent.parent),
            "",
            f"has the ensembles {names}; import a folder with the models of one",
        )
    ((path, model),) = graphs.items()
    after = _edges(str(path), model, models)
    order = topological(after)
    chain = all(list(after[name]) == order[max(0, i - 1) : i] for i, name in enumerate(order))
    stages = {name: {} if chain else {"after": list(after[name])} for name in order}
    rest = [name for name in models if name not in after]
    text = f"the ensemble {model.name} does not use it"
    return Graph(stages, model.name, tuple(left_out(name, text) for name in rest))


def _edges(source: str, model: Any, models: list[str]) -> dict[str, tuple[str, ...]]:
    """The stages that each step comes after: those that write its inputs."""
    steps = model.ensemble_scheduling.step
    if not steps:
        raise refused(source, "ensemble_scheduling.step", "must hold at least one step")
    writers: dict[str, str] = {}
    for step in steps:
        if step.model_name not in models:
            raise refused(
                source,
                "ensemble_scheduling.step",
                f"names {step.model_name or 'no model'}, of which there is no {step.model_name}/config.pbtxt",
            )
        for tensor in step.output_map.values():
            if tensor in writers:
                raise refused(source, "output_map", f"the tensor {tensor} is written by two steps")
            writers[tensor] = step.model_name
    given = {each.name for each in model.input}
    after: dict[str, tuple[str, ...]] = {}
    for step in steps:
        if step.model_name in after:
            raise refused(
                source,
                "ensemble_scheduling.step",
                f"has {step.model_name} twice; a stage is passed once",
            )
        read_from = dict.fromkeys(
            _writer(source, tensor, writers)
            for _, tensor in sorted(step.input_map.items())
            if tensor not in given
        )
        after[step.model_name] = tuple(read_from)
    return after


def _writer(source: str, tensor: str, writers: Mapping[str, str]) -> str:
    if tensor not in writers:
        raise refused(source, "input_map", f"no step and no input writes the tensor {tensor}")
    return writers[tensor]
