"""Triton Inference Server: a model repository, a folder a stage with its ``config.pbtxt``.

Messages are those of the client library, ``tritonclient.grpc.model_config_pb2``; bounds are those of
``ValidateModelConfig`` and ``NormalizeInstanceGroup`` in triton-inference-server/core,
``src/model_config_utils.cc``. The graph of stages is an ensemble: see ``configs.servers.triton_graph``;
reading is in ``configs.servers.triton_reading``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from configs.model import Config, StageConfig
from configs.servers import triton_graph
from configs.servers.base import (
    Exported,
    Remark,
    ServerFormat,
    nearly,
    to_fill_in,
)
from configs.servers.holds import Ability, Since, batching_of, fitted
from configs.servers.proto_text import text_of, triton_messages
from configs.servers.triton_reading import US_NS, read
from configs.units import format_duration
from policies.contract import NO_SIZE
from policies.pipeline import Discipline
from policies.triton import Triton

FILE = "config.pbtxt"
_ABILITY = Ability("Triton", Since.ENTRY, US_NS, sizes=True, timeout=True)
_SAID = ("name", "replicas", "max_batch", "policy", "queue_bound", "after")


def write(config: Config) -> Exported:
    """A model repository: the stages' models and, where there are several, an ensemble of them."""
    messages = triton_messages()
    files, settings = {}, {}
    said = {"name", *(f"stages.{s.name}.{key}" for s in config.stages for key in _SAID)}
    remarks: list[Remark] = []
    for stage in config.stages:
        model = messages.ModelConfig(name=stage.name, max_batch_size=stage.max_batch)
        remarks += _write_batching(config, stage, model, said)
        remarks += _write_instances(config, stage, model, messages, said)
        files[f"{stage.name}/{FILE}"] = text_of(model)
        batching = model.dynamic_batching
        settings[stage.name] = {
            "max_batch_size": stage.max_batch,
            "max_queue_delay_microseconds": batching.max_queue_delay_microseconds,
            "preferred_batch_size": list(batching.preferred_batch_size) or None,
            "instances": stage.replicas,
        }
    names = [stage.name for stage in config.stages]
    if len(names) > 1:
        ensemble = triton_graph.ensemble(config, messages)
        files[f"{ensemble.name}/{FILE}"] = text_of(ensemble, triton_graph.COMMENTS)
        names.append(ensemble.name)
        remarks += triton_graph.remarks(config, ensemble.name)
    remarks.append(
        to_fill_in(
            "models",
            "each model's files go into its folder `1`; where its backend cannot tell them, add"
            " `backend`, `input` and `output` to its config.pbtxt",
        )
    )
    folders = tuple(f"{name}/1" for name in names)
    return Exported(files, settings, frozenset(said), tuple(remarks), folders)


def _write_batching(
    config: Config, stage: StageConfig, model: Any, said: set[str]
) -> Iterator[Remark]:
    where = f"stages.{stage.name}"
    batching = batching_of(stage.policy, stage.max_batch)
    wait_ns, lost = fitted(batching, _ABILITY)
    yield from (nearly(f"{where}.policy", text) for text in lost)
    dynamic = model.dynamic_batching
    dynamic.SetInParent()
    dynamic.preferred_batch_size.extend(batching.sizes)
    if wait_ns:
        dynamic.max_queue_delay_microseconds = wait_ns // US_NS
    rest = dynamic.default_queue_policy
    if stage.queue_bound is not None:
        rest.max_queue_size = stage.queue_bound
    if stage.discipline is Discipline.PRIORITY:
        said |= {f"{where}.discipline"}
        yield from _write_priorities(config, stage, dynamic)
    if isinstance(stage.policy, Triton):
        yield from _write_queues(stage, stage.policy, dynamic)
    if rest.default_timeout_microseconds or len(dynamic.priority_queue_policy):
        return
    if config.workload.expire and not config.parents()[stage.name]:
        said |= {"workload.deadline", "workload.expire"}
        yield from _write_timeout(config.workload.deadline_ns or 0, "workload.deadline", rest)
        # A deadline counts from the arrival at the pipeline: for a stage that comes first it is the same.
        if later := [name for name, parents in config.parents().items() if parents]:
            text = (
                f"said for {stage.name}, which comes first; in {', '.join(later)} nothing expires"
            )
            yield nearly("workload.expire", text)


def _write_priorities(config: Config, stage: StageConfig, dynamic: Any) -> Iterator[Remark]:
    """Triton's level 1 is our level 0, and each level has a queue of its own."""
    where = f"stages.{stage.name}"
    levels = len(config.workload.priorities)
    dynamic.priority_levels = dynamic.default_priority_level = levels
    yield to_fill_in(
        f"{where}.discipline",
        f"each request names its level, 1 to {levels} for ours from 0 on; one that does not is of"
        f" the last",
    )
    if stage.queue_bound is not None:
        yield nearly(f"{where}.queue_bound", "each priority level has a queue of that bound there")


def _write_queues(stage: StageConfig, policy: Triton, dynamic: Any) -> Iterator[Remark]:
    """Timeouts, actions and sizes of its own queues; where it has none, ``queue_bound`` is all."""
    where = f"stages.{stage.name}.policy"
    queues = {
        f"{where}.priority_queue_policy[{level}]": (queue, dynamic.priority_queue_policy[level + 1])
        for level, queue in enumerate(policy.priority_queue_policy)
    }
    queues[where] = (policy.rest, dynamic.default_queue_policy)
    for place, (queue, message) in queues.items():
        if queue.timeout_ns:
            yield from _write_timeout(queue.timeout_ns, place, message)
        if queue.timeout_action == "delay":
            message.timeout_action = message.DELAY
        if queue.max_queue_size:
            message.max_queue_size = min(queue.max_queue_size, message.max_queue_size or NO_SIZE)
    if stage.queue_bound is not None and policy.max_queue_size:
        text = "of two bounds, this and the policy's max_queue_size, the lower is written"
        yield nearly(f"stages.{stage.name}.queue_bound", text)


def _write_timeout(timeout_ns: int, where: str, queue: Any) -> Iterator[Remark]:
    """Triton's action, where none is named, is REJECT."""
    timeout_us = max(1, round(timeout_ns / US_NS))
    queue.default_timeout_microseconds = timeout_us
    if timeout_us * US_NS != timeout_ns:
        text = f"{format_duration(timeout_ns)} is written as {timeout_us} us: Triton counts in them"
        yield nearly(where, text)


def _write_instances(
    config: Config, stage: StageConfig, model: Any, messages: Any, said: set[str]
) -> Iterator[Remark]:
    """Replicas by GPU, where devices name one; otherwise their kind is left to Triton."""
    on = stage.device * stage.replicas if len(stage.device) == 1 else stage.device
    gpus = [config.devices[name].cuda for name in on] or [None] * stage.replicas
    if None in gpus:
        model.instance_group.add(count=stage.replicas)
        yield nearly(
            "replicas",
            "the kind of instances is Triton's choice: where it takes GPUs, the count holds for each",
        )
        return
    said |= {f"stages.{stage.name}.device", *(f"devices.{name}.cuda" for name in on)}
    for gpu, count in Counter(gpus).items():
        kind = messages.ModelInstanceGroup.KIND_GPU
        model.instance_group.add(count=count, kind=kind, gpus=[gpu])


TRITON = ServerFormat(
    "triton", "Triton Inference Server's model repository", (FILE, f"*/{FILE}"), write, read
)
