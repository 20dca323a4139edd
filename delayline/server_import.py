"""From a server's own configuration to one of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configs.dump import SCHEMA_LINE, plain_config
from configs.errors import ConfigError, Problem, nearest
from configs.load import parse_config
from configs.model import Config
from configs.servers.base import Imported, Remark, ServerFormat, left_out, nearly, to_fill_in
from configs.servers.registry import FORMATS
from configs.spellings import NAME_PATTERN
from configs.yaml_text import dump_yaml, parse_yaml
from delayline.errors import CommandError
from delayline.exporting import ordered, server_format

NOT_KNOWN = "? how long a batch takes"
"""Service time of a stage that nobody has told: no duration, so that it is refused until it is replaced."""
_ANY = "1ms"
_WORKLOAD = {"arrivals": {"kind": "poisson", "rate": "100/s"}, "requests": 10_000}


@dataclass(frozen=True, slots=True)
class ServerImport:
    """A configuration made of a server's: plain values, as YAML holds them."""

    format: ServerFormat
    mapping: Mapping[str, Any]
    imported: tuple[str, ...]
    """Names of the stages that the server's files hold."""
    remarks: tuple[Remark, ...]

    def text(self) -> str:
        """The configuration file."""
        return SCHEMA_LINE.format("schema.json") + dump_yaml(dict(self.mapping))


def import_config(
    place: Path,
    *,
    server: str | None = None,
    base: Config | None = None,
    services: Mapping[str, str] | None = None,
    order: Sequence[str] = (),
    out: Path,
) -> ServerImport:
    """The server's configuration in ``place``, a folder or a file, for a file ``out`` of ours.

    With ``base``, its stages take the server's settings and keep everything else. ``services`` are service
    times by stage, as YAML; a stage without any is written so that it is refused until one is given.
    ``order`` names the stages in the order in which they follow. Raises CommandError or ConfigError.
    """
    found, paths = _recognised(place, server)
    read = _named(found.read(paths))
    stages = _in_order(read, order)
    remarks = list(read.remarks)
    if not read.ordered and not order and base is None and len(stages) > 1:
        names = ", ".join(stages)
        text = f"their order is not in the files: {names}; --order gives another"
        remarks.append(to_fill_in("stages", text))
    given = _services(services or {}, stages)
    mapping = (
        _merged(base, read, stages, given, out, remarks)
        if base is not None
        else _alone(read, stages, given, place, remarks)
    )
    _check(mapping, out)
    return ServerImport(found, mapping, tuple(stages), ordered(remarks))


def _recognised(place: Path, server: str | None) -> tuple[ServerFormat, list[Path]]:
    """The format of what lies in ``place``, and its files."""
    if not place.exists():
        raise CommandError(f"{place}: there is no such folder or file")
    if server is not None:
        found = server_format(server)
        paths = found.found(place) if place.is_dir() else [place]
        if not paths:
            raise CommandError(f"{place} holds no {' or '.join(found.patterns)}")
        return found, paths
    matching = {each.name: each.found(place) for each in FORMATS.values()}
    names = [name for name, paths in matching.items() if paths]
    if not names:
        known = ", ".join(each.patterns[0] for each in FORMATS.values())
        raise CommandError(f"{place} holds no server's configuration ({known}); name it by --from")
    if len(names) > 1:
        raise CommandError(f"{place} holds configurations of {', '.join(names)}; choose by --from")
    return FORMATS[names[0]], matching[names[0]]


def _named(read: Imported) -> Imported:
    """With names of stages that ours can have: some servers allow more."""
    names: dict[str, str] = {}
    remarks = list(read.remarks)
    for stage in read.stages:
        name = str(stage["name"])
        fitting = name
        if not re.fullmatch(NAME_PATTERN, name):
            fitting = re.sub(r"[^A-Za-z0-9_-]", "_", name)
            fitting = (fitting if fitting[:1].isalpha() else f"m{fitting}")[:64]
            remarks.append(nearly(name, f"is called {fitting} here"))
        names[name] = fitting
    stages = []
    for stage in read.stages:
        renamed = {**stage, "name": names[str(stage["name"])]}
        if "after" in stage:
            renamed["after"] = [names[each] for each in stage["after"]]
        stages.append(renamed)
    return replace(read, stages=stages, remarks=tuple(remarks))


def _in_order(read: Imported, order: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    stages = {stage["name"]: stage for stage in read.stages}
    for name in order:
        if name not in stages:
            hint = nearest(name, stages, called="stages")
            raise CommandError(f"--order {','.join(order)}: there is no stage `{name}`; {hint}")
    if order and (missing := [name for name in stages if name not in order]):
        raise CommandError(f"--order {','.join(order)} leaves out {', '.join(missing)}")
    return {name: stages[name] for name in order or stages}


def _services(given: Mapping[str, str], stages: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in stages:
            hint = nearest(name, stages, called="stages")
            raise CommandError(f"--service {name}=...: there is no stage `{name}`; {hint}")
    return {name: parse_yaml(text, f"--service {name}={text}") for name, text in given.items()}


def _alone(
    read: Imported,
    stages: Mapping[str, Mapping[str, Any]],
    services: Mapping[str, Any],
    place: Path,
    remarks: list[Remark],
) -> dict[str, Any]:
    """A configuration of the server's settings and what stands in for the rest."""
    whole: dict[str, Any] = {
        "name": read.name or (place.stem if place.is_file() else place.absolute().name),
        "workload": {**_WORKLOAD, **read.workload},
    }
    remarks.append(to_fill_in("workload.arrivals", "what comes: poisson at 100/s until you say"))
    if read.devices:
        whole["devices"] = dict(read.devices)
    unknown = [name for name in stages if name not in services]
    for name in unknown:
        text = f"how long a batch takes: --service {name}=..., or in the file"
        remarks.append(to_fill_in(f"stages.{name}.service", text))
    whole["stages"] = [
        {**_without_none(stage), "service": services.get(name, NOT_KNOWN)}
        for name, stage in stages.items()
    ]
    return whole


def _merged(
    base: Config,
    read: Imported,
    stages: Mapping[str, Mapping[str, Any]],
    services: Mapping[str, Any],
    out: Path,
    remarks: list[Remark],
) -> dict[str, Any]:
    """``base``, with the server's settings in its stages."""
    known = [stage.name for stage in base.stages]
    for name in stages:
        if name not in known:
            raise CommandError(
                f"--config has no stage `{name}`; {nearest(name, known, called='stages')}"
            )
    if rest := [name for name in known if name not in stages]:
        remarks.append(left_out(", ".join(rest), "not in the server's files; left as they were"))
    whole = plain_config(base, out.absolute().parent)
    whole["workload"] = {**whole.get("workload", {}), **read.workload}
    if read.devices:
        whole["devices"] = {**whole.get("devices", {}), **read.devices}
    merged = []
    for stage in whole["stages"]:
        name = stage["name"]
        new = {key: value for key, value in stages.get(name, {}).items() if key != "after"}
        service = {"service": services[name]} if name in services else {}
        merged.append(_without_none({**stage, **new, **service}))
    whole["stages"] = merged
    return whole


def _without_none(stage: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stage.items() if value is not None}


def _check(mapping: Mapping[str, Any], out: Path) -> None:
    """Raise ConfigError for what is wrong but for service times that are yet to be given."""
    stages = [
        {**stage, "service": _ANY} if stage["service"] == NOT_KNOWN else stage
        for stage in mapping["stages"]
    ]
    try:
        parse_config({**mapping, "stages": stages}, file=out)
    except ConfigError as error:
        lines = [Problem("as imported", each.where, each.text) for each in error.problems]
        raise ConfigError(lines) from error
