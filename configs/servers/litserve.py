"""LitServe: the arguments of ``LitAPI`` and ``LitServer`` by stage, in a file of ours.

LitServe has no file of settings: they are arguments in code. ``litserve.yaml`` holds them under the
constructors' own names, to be passed on as ``RankAPI(**settings["rank"]["LitAPI"])``. Bounds are those of
``api.py`` and ``server.py`` in Lightning-AI/LitServe.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.model import Config
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
from configs.servers.holds import Ability, Since, batching_of, fitted
from configs.servers.settings import S_NS, Setting, Table, mapping, seconds, whole_ns
from configs.units import format_duration
from configs.yaml_text import dump_yaml, read_yaml

FILE = "litserve.yaml"
_ABILITY = Ability("LitServe", Since.WINDOW, 1)
_SAID = ("name", "replicas", "max_batch", "policy")
_API = Table((Setting("max_batch_size", 1), Setting("batch_timeout", 0, whole=False)))
_SERVER = Table(
    (
        Setting("workers_per_device", 1),
        Setting("devices", 1, also=("auto",)),
        Setting("timeout", -1, whole=False, also=(False, True)),
    )
)
_TIMEOUT_S = 30
"""LitServe's default timeout, which no batch_timeout may exceed."""
_COMMENTS = """\
# LitServe has no file of settings. These are the arguments of its constructors, by stage:
#     LitServer(API(**settings["LitAPI"]), **settings["LitServer"])
"""


def write(config: Config) -> Exported:
    """The arguments for each stage, a server of its own."""
    said = {f"stages.{stage.name}.{key}" for stage in config.stages for key in _SAID}
    remarks = order_remarks(config, "a server each; whoever calls them keeps it")
    whole, settings = {}, {}
    deadline_ns = config.workload.deadline_ns if config.workload.expire else None
    for stage in config.stages:
        where = f"stages.{stage.name}"
        wait_ns, lost = fitted(batching_of(stage.policy, stage.max_batch), _ABILITY)
        remarks += [nearly(f"{where}.policy", text) for text in lost]
        api = {"max_batch_size": stage.max_batch, "batch_timeout": seconds(wait_ns)}
        server: dict[str, Any] = {"devices": 1, "workers_per_device": stage.replicas}
        if deadline_ns is not None and not config.parents()[stage.name]:
            said |= {"workload.deadline", "workload.expire"}
            server["timeout"] = seconds(deadline_ns)
            remarks.append(nearly("workload.expire", f"said for {stage.name}, which comes first"))
        if stage.replicas > 1:
            text = "free workers collect side by side from one queue, and share what comes"
            remarks.append(nearly(f"{where}.replicas", text))
        _check(api, server, "", where)
        whole[stage.name] = {"LitAPI": api, "LitServer": server}
        settings[stage.name] = {**api, **server}
    text = "pass the arguments on in your code: see the file's first lines"
    remarks.append(to_fill_in("servers", text))
    return Exported({FILE: _COMMENTS + dump_yaml(whole)}, settings, frozenset(said), tuple(remarks))


def _check(api: dict[str, Any], server: dict[str, Any], source: str, where: str) -> None:
    """LitServe's bounds, and that a batch is not waited for beyond the timeout."""
    _API.check(api, source, f"{where}.LitAPI")
    _SERVER.check(server, source, f"{where}.LitServer")
    timeout_s = server.get("timeout", _TIMEOUT_S)
    if isinstance(timeout_s, bool) or timeout_s == -1:
        timeout_s = _TIMEOUT_S if timeout_s is True else float("inf")
    if (wait_s := api.get("batch_timeout", 0)) > timeout_s:
        text = f"must be at most timeout ({timeout_s:g} s), as LitServe has it, not {wait_s:g}"
        raise refused(source, f"{where}.batch_timeout", text)


def read(paths: Sequence[Path]) -> Imported:
    """A stage for each entry."""
    source = str(paths[0])
    whole = read_yaml(paths[0])
    remarks: list[Remark] = []
    timeouts: dict[str, float] = {}
    stages = [_stage(str(name), each, source, remarks, timeouts) for name, each in whole.items()]
    workload = {}
    if timeouts:
        deadline = format_duration(whole_ns(min(timeouts.values()), S_NS))
        workload = {"deadline": deadline, "expire": True}
        if len(timeouts) > 1:
            text = "timeout: the shortest is the deadline of the whole pipeline here"
            remarks.append(nearly(", ".join(timeouts), text))
    return Imported(stages, workload=workload, remarks=tuple(remarks), ordered=False)


def _stage(
    name: str, each: Any, source: str, remarks: list[Remark], timeouts: dict[str, float]
) -> dict[str, Any]:
    parts = mapping(each, source, name)
    own, about = (
        mapping(parts.get(key) or {}, source, f"{name}.{key}") for key in ("LitAPI", "LitServer")
    )
    api = _API.read(own, source, f"{name}.LitAPI")
    server = _SERVER.read(about, source, f"{name}.LitServer")
    _check(api, server, source, name)
    remarks += [*_API.others(own, f"{name}.LitAPI"), *_SERVER.others(about, f"{name}.LitServer")]
    devices = server.get("devices", "auto")
    if devices == "auto":
        remarks.append(to_fill_in(f"{name}.replicas", "devices: auto; those of one device here"))
        devices = 1
    timeout_s = server.get("timeout")
    if timeout_s is not None and not isinstance(timeout_s, bool) and timeout_s > 0:
        timeouts[name] = timeout_s
    policy: dict[str, Any] = {"kind": "litserve"}
    if wait_ns := whole_ns(api.get("batch_timeout", 0), S_NS):
        policy["batch_timeout"] = format_duration(wait_ns)
    return {
        "name": name,
        "replicas": devices * server.get("workers_per_device", 1),
        "max_batch": api.get("max_batch_size", 1),
        "policy": policy,
    }


LITSERVE = ServerFormat("litserve", "arguments of LitServe", (FILE,), write, read)
