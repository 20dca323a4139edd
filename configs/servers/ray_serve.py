"""Ray Serve: a config file for ``serve deploy``, checked by Ray's own schema where Ray Serve is installed.

The settings of ``@serve.batch`` have no keys of their own there. They stand in ``user_config``, which
Serve hands to the deployment's ``reconfigure``: ``set_max_batch_size`` and ``set_batch_wait_timeout_s`` of
the batched method take them. Bounds are those of ``ray.serve.schema`` and of ``ray.serve.batching``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.model import Config, StageConfig
from configs.servers import ray_autoscaling
from configs.servers.base import (
    Exported,
    Imported,
    Remark,
    ServerFormat,
    left_out,
    nearly,
    order_remarks,
    refused,
    to_fill_in,
)
from configs.servers.holds import Ability, Since, batching_of, fitted
from configs.servers.settings import S_NS, Setting, Table, mapping, seconds, sequence, whole_ns
from configs.units import format_duration
from configs.yaml_text import dump_yaml, read_yaml
from policies.ray_serve import RayServe

FILE = "serve_config.yaml"
_ABILITY = Ability("Ray Serve", Since.TAKEN, 1)
_SAID = ("name", "replicas", "max_batch", "policy", "queue_bound", "autoscale")
_DEPLOYMENT = Table(
    (
        Setting("num_replicas", 1, also=("auto",)),
        Setting("max_ongoing_requests", 1),
        Setting("max_queued_requests", -1),
    )
)
_USER = Table(
    (Setting("max_batch_size", 1), Setting("batch_wait_timeout_s", 0, whole=False)),
)
_HTTP = Table((Setting("request_timeout_s", 0, whole=False),))
_ONGOING, _BATCH, _WAIT_S = 5, 10, 0.01
"""Serve's defaults of max_ongoing_requests, max_batch_size and batch_wait_timeout_s."""
_NESTED = ("user_config", ray_autoscaling.KEY)
_COMMENTS = """\
# import_path stands for yours. Each deployment passes user_config on to its batched method:
#
#     @serve.batch
#     async def batched(self, requests): ...
#
#     def reconfigure(self, user_config):
#         self.batched.set_max_batch_size(user_config["max_batch_size"])
#         self.batched.set_batch_wait_timeout_s(user_config["batch_wait_timeout_s"])
"""


def write(config: Config) -> Exported:
    """One application with a deployment for each stage."""
    said = {"name", *(f"stages.{s.name}.{key}" for s in config.stages for key in _SAID)}
    remarks = order_remarks(config, "the deployments call one another")
    deployments, settings = [], {}
    for stage in config.stages:
        deployment, lost = _deployment(stage)
        remarks += lost
        deployments.append({"name": stage.name, **deployment})
        user = deployment["user_config"]
        settings[stage.name] = {
            **{key: value for key, value in deployment.items() if key not in _NESTED},
            **deployment.get(ray_autoscaling.KEY, {}),
            **user,
        }
    whole: dict[str, Any] = {}
    deadline_ns = config.workload.deadline_ns
    if config.workload.expire and deadline_ns is not None:
        said |= {"workload.deadline", "workload.expire"}
        whole["http_options"] = {"request_timeout_s": seconds(deadline_ns)}
        text = "a request past its deadline ends wherever it is, also while it is served"
        remarks.append(nearly("workload.expire", text))
    whole["applications"] = [
        {
            "name": config.name,
            "route_prefix": "/",
            "import_path": "app:app",
            "deployments": deployments,
        }
    ]
    text = "import_path, and a reconfigure that takes user_config: see the file's first lines"
    remarks.append(to_fill_in("applications", text))
    check_schema(whole, FILE)
    files = {FILE: _COMMENTS + dump_yaml(whole)}
    return Exported(files, settings, frozenset(said), tuple(remarks))


def _deployment(stage: StageConfig) -> tuple[dict[str, Any], list[Remark]]:
    where = f"stages.{stage.name}"
    wait_ns, lost = fitted(batching_of(stage.policy, stage.max_batch), _ABILITY)
    remarks = [nearly(f"{where}.policy", text) for text in lost]
    if isinstance(stage.policy, RayServe):
        blocks = str(stage.policy.blocks).lower()
        text = "whether the batched function stops its event loop or awaits is a matter of its code"
        remarks.append(left_out(f"{where}.policy", f"blocks: {blocks} ({text})"))
    if stage.replicas > 1:
        text = "each replica has a queue of its own there, and its share of the requests"
        remarks.append(nearly(f"{where}.replicas", text))
    deployment: dict[str, Any] = {}
    if stage.autoscale is None:
        deployment["num_replicas"] = stage.replicas
    else:  # Ray Serve refuses a number beside it
        rule = ray_autoscaling.written(stage.autoscale, stage.replicas)
        deployment[ray_autoscaling.KEY] = rule
        remarks += ray_autoscaling.lost(stage.autoscale, f"{where}.autoscale")
    # One batch runs while the next is collected; with fewer, batches stay below max_batch_size.
    deployment["max_ongoing_requests"] = 2 * stage.max_batch
    if stage.queue_bound is not None:
        deployment["max_queued_requests"] = stage.queue_bound
        text = "counted by each caller, requests that a replica holds already not included"
        remarks.append(nearly(f"{where}.queue_bound", text))
    deployment["user_config"] = {
        "max_batch_size": stage.max_batch,
        "batch_wait_timeout_s": seconds(wait_ns),
    }
    return deployment, remarks


def ray_schema() -> Any:
    """``ray.serve.schema.ServeDeploySchema``; None where Ray Serve is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray's own use of pydantic
            from ray.serve.schema import ServeDeploySchema
    except ImportError:
        return None
    return ServeDeploySchema


def check_schema(whole: Mapping[str, Any], source: str) -> None:
    """Raise ConfigError for what Ray's own schema refuses; without Ray Serve nothing is checked."""
    if (schema := ray_schema()) is None:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Ray will refuse one day
            schema.model_validate(whole)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise refused(source, where, f"Ray Serve refuses it: {first['msg']}") from error


def read(paths: Sequence[Path]) -> Imported:
    """The deployments of one application, in their order."""
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise refused(str(paths[0].parent), "", f"holds {names}; name one of them")
    path = paths[0]
    source = str(path)
    whole = read_yaml(path)
    applications = sequence(whole.get("applications"), source, "applications")
    if len(applications) != 1:
        raise refused(source, "applications", f"must be one, the pipeline, not {len(applications)}")
    check_schema(whole, source)
    application = mapping(applications[0], source, "applications.0")
    place = "applications.0.deployments"
    remarks: list[Remark] = []
    stages = [
        _stage(mapping(each, source, f"{place}.{i}"), source, f"{place}.{i}", remarks)
        for i, each in enumerate(sequence(application.get("deployments"), source, place))
    ]
    workload = {}
    http = _HTTP.read(whole.get("http_options") or {}, source, "http_options")
    if timeout_s := http.get("request_timeout_s"):
        deadline = format_duration(whole_ns(timeout_s, S_NS))
        workload = {"deadline": deadline, "expire": True}
    return Imported(
        stages,
        name=str(application.get("name", "")),
        workload=workload,
        remarks=tuple(remarks),
        ordered=False,
    )


def _stage(
    each: Mapping[str, Any], source: str, where: str, remarks: list[Remark]
) -> dict[str, Any]:
    name = each.get("name")
    if not isinstance(name, str) or not name:
        raise refused(source, f"{where}.name", "is missing")
    found = _DEPLOYMENT.read(each, source, where)
    remarks += _DEPLOYMENT.others(
        {key: value for key, value in each.items() if key not in ("name", *_NESTED)}, name
    )
    user = each.get("user_config") or {}
    batch = _USER.read(user, source, f"{where}.user_config")
    remarks += _USER.others(user, f"{name}.user_config")
    if len(batch) < 2:
        text = f"max_batch_size {_BATCH} and batch_wait_timeout_s {_WAIT_S}, as @serve.batch has it"
        remarks.append(to_fill_in(name, f"no batch settings in user_config: {text}, where absent"))
    replicas: dict[str, Any] = {"replicas": found.get("num_replicas", 1)}
    auto = replicas["replicas"] == "auto"
    if auto or each.get(ray_autoscaling.KEY) is not None:
        place = f"{where}.{ray_autoscaling.KEY}"
        values = mapping(each.get(ray_autoscaling.KEY) or {}, source, place)
        replicas = ray_autoscaling.read(values, auto, source, place)
        remarks += ray_autoscaling.unread(values, name)
    max_batch = batch.get("max_batch_size", _BATCH)
    ongoing = found.get("max_ongoing_requests", _ONGOING)
    if ongoing < max_batch:
        text = f"max_ongoing_requests {ongoing} lets no batch reach max_batch_size {max_batch}"
        remarks.append(nearly(name, f"{text}: max_batch is {ongoing}"))
    stage = {
        "name": name,
        **replicas,
        "max_batch": min(max_batch, ongoing),
        "policy": {
            "kind": "ray_serve",
            "batch_wait_timeout": format_duration(
                whole_ns(batch.get("batch_wait_timeout_s", _WAIT_S), S_NS)
            ),
        },
    }
    text = "whether the batched function stops its event loop, or awaits its model; true here"
    remarks.append(to_fill_in(f"stages.{name}.policy.blocks", text))
    queued = found.get("max_queued_requests", -1)
    if queued == 0:
        remarks.append(left_out(name, "max_queued_requests 0: a queue of ours holds one at least"))
    return {**stage, "queue_bound": queued if queued > 0 else None}


RAY_SERVE = ServerFormat(
    "ray_serve",
    "Ray Serve's config file",
    (FILE, "serve*.yaml", "serve*.yml"),
    write,
    read,
)
