"""A service profile: measured times of every batch of every stage, in the order in which they ran.

The executor's profiler writes one, the simulator reads it. The file is JSON, format
``delayline-profile/1``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.atomic import write_text
from configs.measured_width import MeasuredWidth

FORMAT = "delayline-profile/1"

Int64 = NDArray[np.int64]

_COLUMNS = ("requests", "items", "service_ns", "rested_ns")


class ProfileError(ValueError):
    """A profile that cannot be used; the text names the file, the place in it, and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class ProfileRun:
    """One stage's batches in one run. Equal-length columns, one entry a batch, in order of dispatch.

    ``service_ns`` is how long the scheduler saw the replica busy: from dispatch until it learnt that
    the batch was over. ``load`` is the offered load of the run as a fraction of capacity, ``policy``
    a text that says how batches formed. ``rested_ns`` is how long the replica had been idle since its
    batch before; -1 for its first.
    """

    load: float
    policy: str
    requests: Int64
    items: Int64
    service_ns: Int64
    rested_ns: Int64

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the columns of a profile run differ in length: {lengths}")
        for name, least in zip(_COLUMNS, (1, 0, 0, -1), strict=True):
            column = getattr(self, name)
            if len(column) and column.min() < least:
                at = int(column.argmin())
                raise ValueError(f"{name}[{at}] must be {least} or more, not {column[at]}")


@dataclass(frozen=True, slots=True, eq=False)
class ServiceProfile:
    """What was measured of each stage of a pipeline on one machine, by stage name."""

    pipeline: str
    device: str
    """The machine in words, for a reader."""
    fingerprint: str
    """Identifies the models that ran (say, a digest of their weights)."""
    stages: Mapping[str, Sequence[ProfileRun]]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    widths: Mapping[str, MeasuredWidth] = field(default_factory=dict)
    """Of the stages that candidates come into; a profile of before this was measured has none."""

    def runs(self, stage: str, file: Path | str) -> Sequence[ProfileRun]:
        """The runs of one stage. ``file`` is named in the ProfileError for a stage that is not there."""
        if stage in self.stages:
            return self.stages[stage]
        near = get_close_matches(stage, self.stages, n=1)
        hint = (
            f"; did you mean {near[0]}?"
            if near
            else "; profile this pipeline to make one that has it"
        )
        names = ", ".join(self.stages) or "none"
        raise ProfileError(f"profile {file} has stages {names}; none named {stage}{hint}")


def save_profile(path: Path | str, profile: ServiceProfile) -> None:
    """Write the profile to ``path``, whole or not at all. Raises OSError where that fails."""
    path = Path(path)
    document = {
        "format": FORMAT,
        "pipeline": profile.pipeline,
        "device": profile.device,
        "fingerprint": profile.fingerprint,
        "created": profile.created,
        "stages": {
            name: {
                "runs": [
                    {"load": run.load, "policy": run.policy}
                    | {column: getattr(run, column).tolist() for column in _COLUMNS}
                    for run in runs
                ]
            }
            | _width_entry(profile.widths.get(name))
            for name, runs in profile.stages.items()
        },
    }
    write_text(path, json.dumps(document, separators=(",", ":")))


def load_profile(path: Path | str) -> ServiceProfile:
    """Read a profile. Raises ProfileError for a file that is absent, no profile, or damaged."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ProfileError(
            f"there is no profile {path}; write one with `delayline profile`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"profile {path} cannot be read: {error}") from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProfileError(
            f"profile {path} is not JSON (line {error.lineno}, column {error.colno}: {error.msg}); "
            "profile again"
        ) from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise ProfileError(
            f"profile {path} has format {found!r}, not {FORMAT!r}; profile again with this version"
        )
    stages = _entry(document, "stages", dict, path, "")
    return ServiceProfile(
        pipeline=_entry(document, "pipeline", str, path, ""),
        device=_entry(document, "device", str, path, ""),
        fingerprint=_entry(document, "fingerprint", str, path, ""),
        created=_entry(document, "created", str, path, ""),
        stages={name: _stage(stage, path, f"stages.{name}") for name, stage in stages.items()},
        widths={
            name: _width(stage["width"], path, f"stages.{name}.width")
            for name, stage in stages.items()
            if "width" in stage
        },
    )


def _width_entry(width: MeasuredWidth | None) -> dict[str, Any]:
    if width is None:
        return {}
    return {"width": {"candidates": width.candidates, "per_candidate_ns": width.per_candidate_ns}}


def _width(document: Any, path: Path | str, at: str) -> MeasuredWidth:
    candidates = _entry(document, "candidates", int, path, at)
    each_ns = _entry(document, "per_candidate_ns", (int, float, type(None)), path, at)
    try:
        return MeasuredWidth(candidates, None if each_ns is None else float(each_ns))
    except ValueError as error:
        raise ProfileError(f"profile {path}: {at}: {error}; profile again") from error


def _entry(mapping: Any, key: str, kind: type | tuple[type, ...], path: Path | str, at: str) -> Any:
    """``mapping[key]``, which must be there and of this type."""
    place = f"{at}.{key}" if at else key
    if not isinstance(mapping, dict) or key not in mapping:
        raise ProfileError(f"profile {path} lacks {place}; profile again")
    value = mapping[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ProfileError(f"profile {path}: {place} is of the wrong type; profile again")
    return value


def _stage(document: Any, path: Path | str, at: str) -> tuple[ProfileRun, ...]:
    runs = _entry(document, "runs", list, path, at)
    return tuple(_run(run, path, f"{at}.runs.{number}") for number, run in enumerate(runs))


def _run(document: Any, path: Path | str, at: str) -> ProfileRun:
    columns = [
        _integers(_entry(document, column, list, path, at), path, f"{at}.{column}")
        for column in _COLUMNS
    ]
    load = float(_entry(document, "load", (int, float), path, at))
    policy = _entry(document, "policy", str, path, at)
    try:
        return ProfileRun(load, policy, *columns)
    except ValueError as error:
        raise ProfileError(f"profile {path}: {at}: {error}; profile again") from error


def _integers(values: list[Any], path: Path | str, at: str) -> Int64:
    for number, value in enumerate(values):
        if type(value) is not int or not -(2**63) <= value < 2**63:
            raise ProfileError(f"profile {path}: {at}[{number}] is no 64-bit integer: {value!r}")
    return np.array(values, np.int64)
