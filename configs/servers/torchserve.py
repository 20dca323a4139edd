"""TorchServe: a ``model-config.yaml`` a stage, to be archived with its model.

Bounds and names are those of pytorch/serve, ``archive/model/ModelConfig.java``, which keeps its default
for a value that it does not take.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.model import Config, StageConfig
from configs.servers.base import (
    Exported,
    Imported,
    Remark,
    ServerFormat,
    nearly,
    order_remarks,
    refused,
    stage_of,
    to_fill_in,
)
from configs.servers.holds import Ability, Since, batching_of, fitted
from configs.servers.settings import MS_NS, Setting, Table
from configs.units import format_duration
from configs.yaml_text import dump_yaml, read_yaml
from policies.torchserve import TorchServe

FILE = "model-config.yaml"
_ABILITY = Ability("TorchServe", Since.TAKEN, MS_NS)
_SAID = ("name", "replicas", "max_batch", "policy", "queue_bound")
_MODEL = Table(
    (
        Setting("minWorkers", 0),
        Setting("maxWorkers", 0),
        Setting("batchSize", 1),
        Setting("maxBatchDelay", 0),
        Setting("jobQueueSize", 1),
        Setting("clientTimeoutInMills", 0),
    )
)
_BATCH, _DELAY_MS = 1, 100
"""TorchServe's defaults of batchSize and maxBatchDelay."""


def write(config: Config) -> Exported:
    """A file for each stage, in a folder of its name."""
    said = {f"stages.{stage.name}.{key}" for stage in config.stages for key in _SAID}
    remarks = order_remarks(config, "a workflow, or whoever calls the models, keeps it")
    files, settings = {}, {}
    for stage in config.stages:
        values, lost = _values(stage)
        remarks += lost
        if config.workload.expire and not config.parents()[stage.name]:
            said |= {"workload.deadline", "workload.expire"}
            values["clientTimeoutInMills"] = max(
                1, round((config.workload.deadline_ns or 0) / MS_NS)
            )
            text = f"said for {stage.name}, which comes first, in whole milliseconds"
            remarks.append(nearly("workload.expire", text))
        _MODEL.check(values, "", f"stages.{stage.name}")
        files[f"{stage.name}/{FILE}"] = dump_yaml(values)
        settings[stage.name] = values
    text = "hand each file to torch-model-archiver with --config-file"
    remarks.append(to_fill_in("models", text))
    return Exported(files, settings, frozenset(said), tuple(remarks))


def _values(stage: StageConfig) -> tuple[dict[str, int], list[Remark]]:
    where = f"stages.{stage.name}"
    wait_ns, lost = fitted(batching_of(stage.policy, stage.max_batch), _ABILITY)
    own = isinstance(stage.policy, TorchServe)
    if own and not wait_ns:
        lost = []  # two jobs at most, as here
    elif not wait_ns and stage.max_batch > 2:
        wait_ns = MS_NS
        lost.append("no wait is written as 1 ms: without one, TorchServe batches two jobs at most")
    values = {
        "minWorkers": stage.replicas,
        "maxWorkers": stage.replicas,
        "batchSize": stage.max_batch,
        "maxBatchDelay": wait_ns // MS_NS,
    }
    if stage.queue_bound is not None:
        values["jobQueueSize"] = stage.queue_bound
    return values, [nearly(f"{where}.policy", text) for text in lost]


def read(paths: Sequence[Path]) -> Imported:
    """A stage for each file."""
    remarks: list[Remark] = []
    timeouts_ms: dict[str, int] = {}
    stages = [_stage(path, remarks, timeouts_ms) for path in paths]
    workload = {}
    if timeouts_ms:
        deadline = format_duration(min(timeouts_ms.values()) * MS_NS)
        workload = {"deadline": deadline, "expire": True}
        if len(stages) > 1:
            text = "clientTimeoutInMills: counts from the arrival at the pipeline here"
            remarks.append(nearly(", ".join(timeouts_ms), text))
    return Imported(stages, workload=workload, remarks=tuple(remarks), ordered=False)


def _stage(path: Path, remarks: list[Remark], timeouts_ms: dict[str, int]) -> dict[str, Any]:
    name, source = stage_of(path), str(path)
    whole = read_yaml(path)
    found = _MODEL.read(whole, source)
    remarks += _MODEL.others(whole, name)
    least, most = found.get("minWorkers", 0), found.get("maxWorkers", 0)
    if most and least > most:
        raise refused(source, "minWorkers", f"must be at most maxWorkers ({most}), not {least}")
    if not least:
        remarks.append(to_fill_in(f"{name}.replicas", "minWorkers: not set; 1 here"))
    elif most > least:
        text = f"{least} workers are started, and up to {most} on demand of the management API"
        remarks.append(nearly(f"{name}.replicas", text))
    if timeout_ms := found.get("clientTimeoutInMills"):
        timeouts_ms[name] = timeout_ms
    delay_ns = found.get("maxBatchDelay", _DELAY_MS) * MS_NS
    stage = {
        "name": name,
        "replicas": least or 1,
        "max_batch": found.get("batchSize", _BATCH),
        "policy": {"kind": "torchserve", "max_batch_delay": format_duration(delay_ns)},
    }
    return stage | ({"queue_bound": found["jobQueueSize"]} if "jobQueueSize" in found else {})


TORCHSERVE = ServerFormat(
    "torchserve",
    "TorchServe's model configurations",
    (FILE, f"*/{FILE}"),
    write,
    read,
)
