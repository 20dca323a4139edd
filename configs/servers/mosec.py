"""mosec: the arguments of ``Server.append_worker`` and of the command line, in a file of ours.

mosec has no file of settings: workers are appended in code, the rest are options or ``MOSEC_...`` in the
environment. ``mosec.yaml`` holds both under their own names. Bounds and defaults are those of mosecorg/mosec,
``validate_int_ge`` and ``append_worker`` in ``mosec/server.py``, and ``mosec/args.py``.
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
    left_out,
    nearly,
    refused,
    to_fill_in,
)
from configs.servers.holds import Ability, Since, batching_of, fitted
from configs.servers.settings import MS_NS, Setting, Table, mapping, sequence
from configs.units import format_duration
from configs.yaml_text import dump_yaml, read_yaml
from policies.pipeline import topological

FILE = "mosec.yaml"
_ABILITY = Ability("mosec", Since.TAKEN, MS_NS)
_SAID = ("name", "replicas", "max_batch", "policy", "after")
_ARGUMENTS = Table((Setting("capacity", 1), Setting("timeout", 0), Setting("wait", 0)))
_WORKER = Table((Setting("num", 1), Setting("max_batch_size", 1), Setting("max_wait_time", 0)))
_WAIT_MS = 10
"""mosec's default of --wait, which a max_wait_time of 0 stands for."""
_COMMENTS = """\
# mosec has no file of settings. `arguments` are options of the command line, or MOSEC_... in the
# environment; `workers` are arguments of Server.append_worker, in order.
"""


def write(config: Config) -> Exported:
    """The workers, in the order of the pipeline."""
    said = {f"stages.{stage.name}.{key}" for stage in config.stages for key in _SAID}
    remarks: list[Remark] = []
    parents = config.parents()
    order = topological(parents)
    if any(list(parents[name]) != order[max(0, i - 1) : i] for i, name in enumerate(order)):
        text = "branches: mosec passes a request from worker to worker, here in a chain"
        remarks.append(left_out("stages", text))
    arguments: dict[str, int] = {}
    workers, settings = [], {}
    for name in order:
        stage = config.stage(name)
        wait_ns, lost = fitted(batching_of(stage.policy, stage.max_batch), _ABILITY)
        if stage.max_batch == 1:
            wait_ns = 0  # a batch of one waits for nothing
        remarks += [nearly(f"stages.{name}.policy", text) for text in lost]
        if not wait_ns and stage.max_batch > 1:
            arguments["wait"] = 0  # max_wait_time 0 would stand for 10 ms
        worker = {
            "num": stage.replicas,
            "max_batch_size": stage.max_batch,
            "max_wait_time": wait_ns // MS_NS,
        }
        workers.append({"worker": name, **worker})
        settings[name] = worker
        if stage.replicas > 1:
            text = "free workers take requests by turns, each for a batch of its own"
            remarks.append(nearly(f"stages.{name}.replicas", text))
    remarks += _arguments(config, order[0], arguments, said)
    text = "append the workers in your code with these arguments: see the file's first lines"
    remarks.append(to_fill_in("workers", text))
    whole = {**({"arguments": arguments} if arguments else {}), "workers": workers}
    return Exported({FILE: _COMMENTS + dump_yaml(whole)}, settings, frozenset(said), tuple(remarks))


def _arguments(
    config: Config, first: str, arguments: dict[str, int], said: set[str]
) -> list[Remark]:
    """Options of the whole server: the first stage's bound, and the deadline."""
    remarks = []
    bound = config.stage(first).queue_bound
    if bound is not None:
        said |= {f"stages.{first}.queue_bound"}
        arguments["capacity"] = bound
    if config.workload.expire and (deadline_ns := config.workload.deadline_ns) is not None:
        said |= {"workload.deadline", "workload.expire"}
        arguments["timeout"] = max(1, round(deadline_ns / MS_NS))
        if arguments["timeout"] * MS_NS != deadline_ns:
            text = f"{format_duration(deadline_ns)} is written as {arguments['timeout']} ms"
            remarks.append(nearly("workload.deadline", text))
    return remarks


def read(paths: Sequence[Path]) -> Imported:
    """A stage for each worker, in order."""
    source = str(paths[0])
    whole = read_yaml(paths[0])
    given = mapping(whole.get("arguments") or {}, source, "arguments")
    arguments = _ARGUMENTS.read(given, source, "arguments")
    remarks = list(_ARGUMENTS.others(given, "arguments"))
    stages = []
    for i, each in enumerate(sequence(whole.get("workers"), source, "workers")):
        where = f"workers.{i}"
        worker = dict(mapping(each, source, where))
        name = worker.pop("worker", None)
        if not isinstance(name, str) or not name:
            raise refused(source, f"{where}.worker", "is missing")
        found = _WORKER.read(worker, source, where)
        remarks += _WORKER.others(worker, name)
        stages.append(
            {
                "name": name,
                "replicas": found.get("num", 1),
                "max_batch": found.get("max_batch_size", 1),
                "policy": _policy(found.get("max_wait_time", 0), arguments),
            }
        )
    if stages and "capacity" in arguments:
        stages[0]["queue_bound"] = arguments["capacity"]
    workload = {}
    if timeout_ms := arguments.get("timeout"):
        workload = {"deadline": format_duration(timeout_ms * MS_NS), "expire": True}
    return Imported(stages, workload=workload, remarks=tuple(remarks))


def _policy(max_wait_ms: int, arguments: dict[str, Any]) -> dict[str, Any]:
    policy: dict[str, Any] = {"kind": "mosec"}
    if max_wait_ms:
        policy["max_wait_time"] = format_duration(max_wait_ms * MS_NS)
    elif (wait_ms := arguments.get("wait", _WAIT_MS)) != _WAIT_MS:
        policy["wait"] = format_duration(wait_ms * MS_NS)
    return policy


MOSEC = ServerFormat("mosec", "arguments of mosec", (FILE,), write, read)
