"""Triton's model repositories, read: each model a stage, an ensemble their graph.

Bounds are those of ``ValidateModelConfig`` and ``NormalizeInstanceGroup`` in triton-inference-server/core,
``src/model_config_utils.cc``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.servers import triton_graph
from configs.servers.base import (
    Imported,
    Remark,
    left_out,
    nearly,
    refused,
    stage_of,
    to_fill_in,
)
from configs.servers.proto_text import parsed, triton_messages
from configs.units import format_duration

US_NS = 1_000
_BATCHING = {
    *("name", "max_batch_size", "dynamic_batching", "instance_group"),
    *("ensemble_scheduling", "platform"),
}
"""Fields of a model's configuration that are read."""
_GROUP = {"name", "kind", "count", "gpus"}
"""Fields of a group of instances that are read."""


@dataclass(slots=True)
class _Read:
    """What the models together say, while they are read."""

    remarks: list[Remark] = field(default_factory=list)
    on_gpu: Counter[int] = field(default_factory=Counter)
    levels: int = 0


def read(paths: Sequence[Path]) -> Imported:
    """A model repository, or single models of one."""
    messages = triton_messages()
    models = {path: parsed(path, messages.ModelConfig()) for path in paths}
    for path, model in models.items():
        if model.name and model.name != stage_of(path):
            raise refused(
                str(path),
                "name",
                f"must be the folder's, {stage_of(path)}, as Triton has it, not {model.name}",
            )
        model.name = model.name or stage_of(path)
    graphs = {p: m for p, m in models.items() if m.HasField("ensemble_scheduling")}
    whole = _Read()
    stages = {m.name: _stage(p, m, messages, whole) for p, m in models.items() if p not in graphs}
    graph = triton_graph.read(graphs, list(stages))
    kept = [{**stages[name], **keys} for name, keys in graph.stages.items()]
    workload: dict[str, Any] = {}
    if whole.levels:
        workload["priorities"] = [1] * whole.levels
        text = "the share of each level; written as equal shares"
        whole.remarks.append(to_fill_in("workload.priorities", text))
    devices = {f"gpu{n}": {"cuda": n, "slots": slots} for n, slots in sorted(whole.on_gpu.items())}
    return Imported(
        kept,
        name=graph.name,
        workload=workload,
        devices=devices,
        remarks=(*whole.remarks, *graph.remarks),
        ordered=bool(graph.name),
    )


def _stage(path: Path, model: Any, messages: Any, whole: _Read) -> dict[str, Any]:
    """One model as a stage."""
    source = str(path)
    _validate(source, model)
    if others := [f.name for f, _ in model.ListFields() if f.name not in _BATCHING]:
        whole.remarks.append(left_out(model.name, f"{', '.join(others)}: of the model itself"))
    stage: dict[str, Any] = {"name": model.name, "replicas": 0, "max_batch": model.max_batch_size}
    if not model.HasField("dynamic_batching") or model.max_batch_size == 0:
        stage |= {"max_batch": 1, "policy": "immediate"}
        if model.max_batch_size > 1:
            whole.remarks.append(
                nearly(
                    model.name,
                    f"max_batch_size {model.max_batch_size} without dynamic_batching: requests go one"
                    " by one",
                )
            )
    else:
        stage |= _batching(model, messages, whole)
    return stage | _instances(model, messages, whole)


def _validate(source: str, model: Any) -> None:
    """Triton's own bounds. Raises ConfigError."""
    if model.max_batch_size < 0:
        raise refused(source, "max_batch_size", f"must be at least 0, not {model.max_batch_size}")
    if model.HasField("sequence_batching"):
        raise refused(source, "sequence_batching", "the sequence batcher is not simulated")
    dynamic = model.dynamic_batching
    for size in dynamic.preferred_batch_size:
        if size < 1:
            raise refused(source, "preferred_batch_size", f"must be at least 1, not {size}")
        if size > model.max_batch_size:
            raise refused(
                source,
                "preferred_batch_size",
                f"must be at most max_batch_size ({model.max_batch_size}), not {size}",
            )
    levels = dynamic.priority_levels
    if levels and not 1 <= dynamic.default_priority_level <= levels:
        raise refused(
            source,
            "default_priority_level",
            f"must be 1 to priority_levels ({levels}), not {dynamic.default_priority_level}",
        )
    if levels > 1 and dynamic.preserve_ordering:
        raise refused(source, "preserve_ordering", f"cannot be kept with {levels} priority levels")
    for level in dynamic.priority_queue_policy:
        if not 1 <= level <= levels:
            raise refused(
                source,
                "priority_queue_policy",
                f"must be of a level from 1 to priority_levels ({levels}), not {level}",
            )


def _batching(model: Any, messages: Any, whole: _Read) -> dict[str, Any]:
    dynamic = model.dynamic_batching
    queue = dynamic.default_queue_policy
    policy: dict[str, Any] = {"kind": "triton"}
    if delay_us := dynamic.max_queue_delay_microseconds:
        policy["max_queue_delay"] = format_duration(delay_us * US_NS)
    if dynamic.preferred_batch_size:
        policy["preferred_batch_size"] = list(dynamic.preferred_batch_size)
    named = dynamic.priority_queue_policy
    overrides = any(each.allow_timeout_override for each in (queue, *named.values()))
    lost = {
        "preserve_ordering": (dynamic.preserve_ordering, "answers come as batches end"),
        "allow_timeout_override": (overrides, "requests name no timeouts of their own"),
    }
    found = _queue(queue, messages)
    if "timeout" in found:
        found["queue_timeout"] = found.pop("timeout")
    # Without levels there is one queue, and its size is the stage's.
    bound = found.pop("max_queue_size", None) if not dynamic.priority_levels else None
    policy |= found
    if named:
        # A level that is not named has the default's, and one that is has nothing of it.
        policy["priority_queue_policy"] = [
            _queue(named.get(level, queue), messages) for level in range(1, max(named) + 1)
        ]
    if dynamic.priority_levels:
        whole.levels = max(whole.levels, dynamic.priority_levels)
    whole.remarks += [
        left_out(model.name, f"{key}: {why}") for key, (there, why) in lost.items() if there
    ]
    return {
        "policy": policy,
        "queue_bound": bound,
        "discipline": "priority" if dynamic.priority_levels else None,
    }


def _queue(queue: Any, messages: Any) -> dict[str, Any]:
    """A ``ModelQueuePolicy`` in our terms, without what it leaves at its default."""
    found: dict[str, Any] = {}
    if queue.default_timeout_microseconds:
        found["timeout"] = format_duration(queue.default_timeout_microseconds * US_NS)
    if queue.timeout_action == messages.ModelQueuePolicy.DELAY:
        found["timeout_action"] = "delay"
    if queue.max_queue_size:
        found["max_queue_size"] = queue.max_queue_size
    return found


def _instances(model: Any, messages: Any, whole: _Read) -> dict[str, Any]:
    """Replicas and their devices. A count below 1, or none, is 1 to Triton; it holds for each GPU."""
    on: list[int | None] = []
    for group in model.instance_group or [messages.ModelInstanceGroup()]:
        gpus = list(group.gpus) or [None]
        on += gpus * max(1, group.count)
        if group.count < 0:
            whole.remarks.append(nearly(model.name, f"count {group.count}: is 1 to Triton"))
        if others := [f.name for f, _ in group.ListFields() if f.name not in _GROUP]:
            text = f"instance_group: {', '.join(others)}"
            whole.remarks.append(left_out(model.name, text))
        if group.kind == messages.ModelInstanceGroup.KIND_GPU and not group.gpus:
            text = (
                "KIND_GPU without gpus: replicas are those of one GPU; Triton has so many on each"
            )
            whole.remarks.append(nearly(model.name, text))
    if None in on:
        if any(gpu is not None for gpu in on):
            whole.remarks.append(
                left_out(model.name, "gpus, as other instances of the model name none")
            )
        return {"replicas": len(on)}
    numbers = [gpu for gpu in on if gpu is not None]
    whole.on_gpu.update(numbers)
    names = [f"gpu{gpu}" for gpu in numbers]
    return {"replicas": len(on), "device": names if len(set(names)) > 1 else names[0]}
