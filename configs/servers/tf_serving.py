"""TensorFlow Serving: a batching parameters file a stage, for ``--batching_parameters_file``.

The message is ``BatchingParameters`` of tensorflow/serving,
``servables/tensorflow/session_bundle_config.proto``; it is described here, since no small package holds
it. Defaults and bounds are those of ``QueueOptions`` and ``AddQueueAfterRewritingOptions`` in
tensorflow/tensorflow, ``core/kernels/batching_util/shared_batch_scheduler.h``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.model import Config, StageConfig
from configs.servers.base import (
    Exported,
    Imported,
    Remark,
    ServerFormat,
    left_out,
    nearly,
    order_remarks,
    refused,
    stage_of,
    to_fill_in,
)
from configs.servers.holds import Ability, Since, batching_of, fitted
from configs.servers.proto_text import needs_extra, parsed, text_of
from configs.servers.settings import Setting
from configs.units import format_duration

FILE = "batching_parameters.txt"
US_NS = 1_000
UNBOUNDED = 1_000_000
"""Batches in a queue that stand for no bound, as TensorFlow Serving's own examples write it."""
_DEFAULT_BATCH, _DEFAULT_QUEUE = 1_000, 10
# In the order of their numbers in the message.
_SETTINGS = {
    each.name: each
    for each in (
        Setting("max_batch_size", 1),
        Setting("batch_timeout_micros", 0),
        Setting("max_enqueued_batches", 1),
        Setting("num_batch_threads", 1),
    )
}
_ABILITY = Ability("TensorFlow Serving", Since.ENTRY, US_NS)
_SAID = ("name", "replicas", "max_batch", "policy", "queue_bound")


@functools.cache
def _message_class() -> Any:
    """The class of ``tensorflow.serving.BatchingParameters``. Raises MissingLibraryError."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
    except ImportError as error:
        raise needs_extra("TensorFlow Serving's batching_parameters.txt", error) from error
    # The library's pool has no types.
    pool: Any = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="batching_parameters.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    field = file.message_type.add(name="BatchingParameters").field.add
    for number, name in enumerate((*_SETTINGS, "thread_pool_name"), 1):
        value = "StringValue" if name == "thread_pool_name" else "Int64Value"
        wrapper = f".google.protobuf.{value}"
        field(name=name, number=number, label=one, type=kinds.TYPE_MESSAGE, type_name=wrapper)
    field(name="allowed_batch_sizes", number=6, label=many, type=kinds.TYPE_INT64)
    field(name="pad_variable_length_inputs", number=7, label=one, type=kinds.TYPE_BOOL)
    pool.AddSerializedFile(file.SerializeToString())
    found = pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters")
    return message_factory.GetMessageClass(found)


def write(config: Config) -> Exported:
    """A file for each stage, in a folder of its name."""
    parameters = _message_class()
    files, settings = {}, {}
    said = {f"stages.{stage.name}.{key}" for stage in config.stages for key in _SAID}
    remarks = order_remarks(config, "whoever calls the models keeps it")
    if len(config.stages) > 1:
        remarks.append(
            to_fill_in(
                "stages",
                "a server each; for several models on one, --enable_per_model_batching_parameters"
                " and each file in its SavedModel as assets.extra/batching_params.pbtxt",
            )
        )
    for stage in config.stages:
        values, lost = _values(stage)
        remarks += lost
        message = parameters()
        if stage.pad_to:
            said |= {f"stages.{stage.name}.pad_to"}
            # The last must be max_batch_size there; here it may be larger.
            sizes = [size for size in stage.pad_to if size < stage.max_batch]
            message.allowed_batch_sizes.extend([*sizes, stage.max_batch])
            if stage.pad_to[-1] > stage.max_batch:
                text = (
                    f"the last size is max_batch there, {stage.max_batch}, not {stage.pad_to[-1]}"
                )
                remarks.append(nearly(f"stages.{stage.name}.pad_to", text))
        for key, value in values.items():
            getattr(message, key).value = _SETTINGS[key].checked(value, f"stages.{stage.name}")
        files[f"{stage.name}/{FILE}"] = text_of(message)
        allowed = list(message.allowed_batch_sizes)
        settings[stage.name] = {**values, "allowed_batch_sizes": allowed or None}
    return Exported(files, settings, frozenset(said), tuple(remarks))


def _values(stage: StageConfig) -> tuple[dict[str, int], list[Remark]]:
    where = f"stages.{stage.name}"
    wait_ns, lost = fitted(batching_of(stage.policy, stage.max_batch), _ABILITY)
    remarks = [nearly(f"{where}.policy", text) for text in lost]
    queue = UNBOUNDED
    if stage.queue_bound is not None:
        queue = min(max(1, round(stage.queue_bound / stage.max_batch)), UNBOUNDED)
        if queue * stage.max_batch != stage.queue_bound:
            remarks.append(
                nearly(
                    f"{where}.queue_bound",
                    f"{stage.queue_bound} is written as {queue} batches of {stage.max_batch}",
                )
            )
    values = {
        "max_batch_size": stage.max_batch,
        "batch_timeout_micros": wait_ns // US_NS,
        "max_enqueued_batches": queue,
        "num_batch_threads": stage.replicas,
    }
    return values, remarks


def read(paths: Sequence[Path]) -> Imported:
    """A stage for each file."""
    remarks: list[Remark] = []
    stages = [_stage(path, remarks) for path in paths]
    return Imported(stages, remarks=tuple(remarks), ordered=False)


def _stage(path: Path, remarks: list[Remark]) -> dict[str, Any]:
    name, source = stage_of(path), str(path)
    message = parsed(path, _message_class()())
    found = {
        key: each.checked(getattr(message, key).value, source)
        for key, each in _SETTINGS.items()
        if message.HasField(key)
    }
    if "num_batch_threads" not in found:
        remarks.append(
            to_fill_in(
                f"{name}.replicas", "num_batch_threads: the server's number of cores; 1 here"
            )
        )
    max_batch = found.get("max_batch_size", _DEFAULT_BATCH)
    sizes = list(message.allowed_batch_sizes)
    _check_allowed(source, sizes, max_batch)
    if message.pad_variable_length_inputs:
        remarks.append(left_out(name, "pad_variable_length_inputs: of the service times"))
    policy: dict[str, Any] = {"kind": "tf_serving"}
    if timeout_us := found.get("batch_timeout_micros", 0):
        policy["batch_timeout"] = format_duration(timeout_us * US_NS)
    stage = {
        "name": name,
        "replicas": found.get("num_batch_threads", 1),
        "max_batch": max_batch,
        "policy": policy,
    }
    queue = found.get("max_enqueued_batches", _DEFAULT_QUEUE)
    stage["pad_to"] = sizes or None
    return {**stage, "queue_bound": None if queue >= UNBOUNDED else queue * max_batch}


def _check_allowed(source: str, sizes: Sequence[int], max_batch: int) -> None:
    """Raise ConfigError for sizes to pad to that the server refuses."""
    if not sizes:
        return
    if sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes)):
        raise refused(source, "allowed_batch_sizes", f"must rise from 1 on, not {list(sizes)}")
    if sizes[-1] != max_batch:
        raise refused(
            source,
            "allowed_batch_sizes",
            f"must end with max_batch_size ({max_batch}), not {sizes[-1]}",
        )


TF_SERVING = ServerFormat(
    "tf_serving",
    "TensorFlow Serving's batching parameters",
    (FILE, f"*/{FILE}", "batching_params.pbtxt", "*/batching_params.pbtxt"),
    write,
    read,
)
