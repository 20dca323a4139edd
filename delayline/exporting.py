"""A configuration written for a real server, with everything that it does not say beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from configs.atomic import write_text
from configs.errors import nearest
from configs.model import Config
from configs.servers.base import Exported, Fate, Remark, ServerFormat, nearly
from configs.servers.holds import batching_of
from configs.servers.left_out import all_left_out
from configs.servers.registry import FORMATS
from delayline.errors import CommandError
from policies.contract import Policy
from sim.simulate import pipeline_for, workload_of

NOTES = "NOT_EXPORTED.md"
"""The file that lists what an export does not say."""
_REQUESTS = 1000
"""How many requests tell the mean size, which policies are fitted by."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A configuration in a server's format, and all that is to be known of it."""

    config: Config
    format: ServerFormat
    exported: Exported
    remarks: tuple[Remark, ...]
    """In the order of their fates: said nearly, not said, to be filled in."""


def server_format(name: str) -> ServerFormat:
    """The format of that name. Raises CommandError."""
    if name not in FORMATS:
        raise CommandError(
            f"there is no server `{name}`; {nearest(name, FORMATS, called='servers')}"
        )
    return FORMATS[name]


def export_config(config: Config, to: str) -> Deployment:
    """``config`` in the format of the server ``to``.

    Raises CommandError for an unknown server, ConfigError for what the server would refuse, and
    MissingLibraryError where the format needs a library that is not there.
    """
    found = server_format(to)
    fitted, caps = _with_caps(_fitted(config))
    exported = found.write(fitted)
    remarks = (*caps, *exported.remarks, *all_left_out(config, exported.said))
    return Deployment(config, found, exported, ordered(remarks))


def _fitted(config: Config) -> Config:
    """With policies fitted to their places, as a run has them, where some are: a best limit is found."""
    if all(type(stage.policy).planned is Policy.planned for stage in config.stages):
        return config
    few = min(config.workload.requests or _REQUESTS, _REQUESTS)
    workload = workload_of(replace(config, workload=replace(config.workload, requests=few)))
    policies = {stage.name: stage.policy for stage in pipeline_for(config, workload).stages}
    stages = tuple(replace(stage, policy=policies[stage.name]) for stage in config.stages)
    return replace(config, stages=stages)


def _with_caps(config: Config) -> tuple[Config, list[Remark]]:
    """With the largest batch that a policy ever sends as its stage's ``max_batch``."""
    stages, remarks = [], []
    for stage in config.stages:
        cap = batching_of(stage.policy, stage.max_batch).cap
        if cap is not None and cap < stage.max_batch:
            text = f"{cap}, the most that `{stage.policy.kind}` sends, not {stage.max_batch}"
            remarks.append(nearly(f"stages.{stage.name}.max_batch", text))
            stage = replace(stage, max_batch=cap)
        stages.append(stage)
    return replace(config, stages=tuple(stages)), remarks


def ordered(remarks: Sequence[Remark]) -> tuple[Remark, ...]:
    """Remarks by fate, each once, otherwise in their order."""
    fates = list(Fate)
    return tuple(sorted(dict.fromkeys(remarks), key=lambda remark: fates.index(remark.fate)))


def write_deployment(out: Path, deployment: Deployment, *, overwrite: bool = False) -> list[Path]:
    """Write the files into the folder ``out`` and return their paths, the notes last.

    Files of other names stay as they are. Raises CommandError where a file of the same name but other
    text is there already, unless ``overwrite`` is set; nothing is written then.
    """
    texts = {**deployment.exported.files, NOTES: notes_text(deployment)}
    paths = {out / name: text for name, text in texts.items()}
    if out.exists() and not out.is_dir():
        raise CommandError(f"--out {out} is a file; give a folder")
    if not overwrite:
        for path, text in paths.items():
            if path.name != NOTES and path.exists() and path.read_text("utf-8") != text:
                raise CommandError(
                    f"{path} is there already; give another --out, or --replace to write over it"
                )
    for path, text in paths.items():
        write_text(path, text)
    for folder in deployment.exported.folders:
        (out / folder).mkdir(parents=True, exist_ok=True)
    return list(paths)


def notes_text(deployment: Deployment) -> str:
    """What the files do not say, as a page beside them."""
    name = deployment.config.name
    lines = [
        f"# {name}: what these files do not say",
        "",
        f"`delayline export` has written the configuration `{name}` as {deployment.format.title}.",
    ]
    for fate, group in groupby(deployment.remarks, key=lambda remark: remark.fate):
        lines += ["", f"## {fate.value.capitalize()}", ""]
        lines += [f"- `{remark.where}`: {remark.text}" for remark in group]
    return "\n".join(lines) + "\n"
