"""BentoML: a configuration file for ``BENTOML_CONFIG``, a service a stage.

Bounds are those of BentoML's own schema, ``bentoml/_internal/configuration/v2``. Since 1.2 the settings of
batching are read from ``@bentoml.api(batchable=True, ...)``; they stand in the file all the same, under
``batching``, and in its first lines as that decorator has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    to_fill_in,
)
from configs.servers.settings import MS_NS, S_NS, Setting, Table, mapping, seconds, whole_ns
from configs.units import format_duration
from configs.yaml_text import dump_yaml, read_yaml
from policies.bentoml import BentoMl

FILE = "bentoml_configuration.yaml"
_SAID = ("name", "replicas", "max_batch", "policy")
_BATCHING = Table((Setting("max_batch_size", 1), Setting("max_latency_ms", 1)))
_SERVICE = Table((Setting("workers", 1, also=("cpu_count",)),))
_TRAFFIC = Table((Setting("timeout", 0, whole=False),))
_RESERVED = {
    *("name", "batching", "resources", "extra_ports", "replicate_process", "workers", "threads"),
    *("traffic", "backlog", "max_runner_connections", "runner_connection", "metrics", "logging"),
    *("http", "grpc", "ssl", "runner_probe", "monitoring", "tracing"),
}
"""Keys under ``services`` that are settings of all services, and so no service's name."""
_LATENCY_MS, _BATCH = 60_000, 100
"""BentoML's defaults of max_latency_ms and max_batch_size."""


def write(config: Config) -> Exported:
    """A service for each stage."""
    said = {f"stages.{stage.name}.{key}" for stage in config.stages for key in _SAID}
    remarks = order_remarks(config, "services call one another by bentoml.depends")
    services, settings, decorators = {}, {}, []
    for stage in config.stages:
        if stage.name in _RESERVED:
            text = "is a setting's name in BentoML's configuration; call the stage something else"
            raise refused("", f"stages.{stage.name}.name", text)
        batching, lost = _batching(stage)
        remarks += lost
        service: dict[str, Any] = {"workers": stage.replicas, "batching": batching}
        if stage.replicas > 1:
            text = "each worker has a queue of its own there, and its share of the requests"
            remarks.append(nearly(f"stages.{stage.name}.replicas", text))
        services[stage.name] = service
        settings[stage.name] = {"workers": stage.replicas, **batching}
        arguments = {"batchable": batching["enabled"], **batching}
        decorators.append(_decorator(stage.name, arguments))
    deadline_ns = config.workload.deadline_ns
    if config.workload.expire and deadline_ns is not None:
        said |= {"workload.deadline", "workload.expire"}
        for service in services.values():
            service["traffic"] = {"timeout": seconds(deadline_ns)}
        text = "the caller has no answer after it; the request itself stays in its queue"
        remarks.append(nearly("workload.expire", text))
    text = "since BentoML 1.2, batching's settings go into @bentoml.api: see the file's first lines"
    remarks.append(to_fill_in("services", text))
    comments = "# For BENTOML_CONFIG. Batching's settings go into the code:\n" + "".join(decorators)
    files = {FILE: comments + dump_yaml({"version": 2, "services": services})}
    return Exported(files, settings, frozenset(said), tuple(remarks))


def _decorator(stage: str, arguments: Mapping[str, object]) -> str:
    given = ", ".join(f"{key}={value}" for key, value in arguments.items() if key != "enabled")
    return f"#   {stage}: @bentoml.api({given})\n"


def _batching(stage: StageConfig) -> tuple[dict[str, Any], list[Remark]]:
    """BentoML batches from two on; with ``max_batch`` 1 there is nothing to batch."""
    if stage.max_batch < 2:
        return {"enabled": False}, []
    where = f"stages.{stage.name}.policy"
    batching: dict[str, Any] = {"enabled": True, "max_batch_size": stage.max_batch}
    if not isinstance(stage.policy, BentoMl):
        text = (
            f"BentoML learns by itself how long to wait; nothing of `{stage.policy.kind}` is written"
            f" but max_batch, and max_latency_ms is its default, {_LATENCY_MS}"
        )
        return {**batching, "max_latency_ms": _LATENCY_MS}, [nearly(where, text)]
    latency_ms = max(1, round(stage.policy.max_latency_ns / MS_NS))
    remarks = []
    if latency_ms * MS_NS != stage.policy.max_latency_ns:
        text = f"{format_duration(stage.policy.max_latency_ns)} is written as {latency_ms} ms"
        remarks.append(nearly(where, text))
    return {**batching, "max_latency_ms": latency_ms}, remarks


def read(paths: Sequence[Path]) -> Imported:
    """A stage for each service."""
    path = paths[0]
    source = str(path)
    whole = read_yaml(path)
    if whole.get("version", 2) != 2:
        raise refused(source, "version", "must be 2, that of BentoML 1.2 and later")
    services = mapping(whole.get("services"), source, "services")
    common = {key: value for key, value in services.items() if key in _RESERVED}
    remarks: list[Remark] = []
    timeouts: list[float] = []
    stages = [
        _stage(str(name), _merged(common, mapping(each, source, where)), source, remarks, timeouts)
        for name, each in services.items()
        if name not in _RESERVED
        for where in [f"services.{name}"]
    ]
    if not stages:
        raise refused(source, "services", "names no service, only settings of all")
    workload = {}
    if timeouts:
        deadline = format_duration(whole_ns(min(timeouts), S_NS))
        workload = {"deadline": deadline, "expire": True}
    return Imported(stages, workload=workload, remarks=tuple(remarks), ordered=False)


def _merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A service's settings over those of all services, as BentoML merges them."""
    found = dict(common)
    for key, value in own.items():
        below = found.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = {**below, **value}
        found[key] = value
    return found


def _stage(
    name: str,
    service: Mapping[str, Any],
    source: str,
    remarks: list[Remark],
    timeouts: list[float],
) -> dict[str, Any]:
    where = f"services.{name}"
    workers = _SERVICE.read(service, source, where).get("workers", 1)
    if workers == "cpu_count":
        remarks.append(to_fill_in(f"{name}.replicas", "workers: cpu_count; 1 here"))
        workers = 1
    known = ("batching", "traffic")
    rest = {key: value for key, value in service.items() if key not in known}
    remarks += _SERVICE.others(rest, name)
    traffic = mapping(service.get("traffic") or {}, source, f"{where}.traffic")
    if timeout := _TRAFFIC.read(traffic, source, f"{where}.traffic").get("timeout"):
        timeouts.append(timeout)
    remarks += _TRAFFIC.others(traffic, f"{name}.traffic")
    batching = mapping(service.get("batching") or {}, source, f"{where}.batching")
    found = _BATCHING.read(batching, source, f"{where}.batching")
    stage: dict[str, Any] = {"name": name, "replicas": workers}
    if batching.get("enabled") is False or not batching:
        if not batching:
            text = "batching: not in the file, so that requests go one by one here"
            remarks.append(to_fill_in(name, text))
        return {**stage, "max_batch": 1, "policy": "immediate"}
    max_batch = found.get("max_batch_size", _BATCH)
    if max_batch < 2:
        place = f"{where}.batching.max_batch_size"
        raise refused(
            source, place, f"must be at least 2 where batching is enabled, not {max_batch}"
        )
    latency_ns = found.get("max_latency_ms", _LATENCY_MS) * MS_NS
    policy = {"kind": "bentoml", "max_latency": format_duration(latency_ns)}
    return {**stage, "max_batch": max_batch, "policy": policy}


BENTOML = ServerFormat(
    "bentoml",
    "BentoML's configuration",
    (FILE, "bentoml*.yaml", "bentoml*.yml"),
    write,
    read,
)
