"""Latency tables as others have published them: times by batch size, with the percentiles printed.

``delayline import-profile`` writes such a file and a person may write one by hand; the simulator reads
it. It is YAML, format ``delayline-published/1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from configs.atomic import write_text
from configs.errors import ConfigError, Problem, key_path, shown
from configs.labels import LabelError, chosen, parse_labels, show_labels
from configs.nodes import value_of
from configs.plain import plain
from configs.short import Full
from configs.units import UNITS_NS, format_duration
from configs.yaml_text import Line, dump_yaml, read_yaml
from policies.knobs import Bounds, knob

FORMAT: Final = "delayline-published/1"
PERCENTILES = (50, 90, 95, 99)
"""The percentiles that a table may print."""
Per = Literal["request", "item"]
_LONGEST_NS = UNITS_NS["d"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTimes:
    """What is printed of batches of one size."""

    mean_ns: int = knob("mean time", gt=0, le=_LONGEST_NS)
    p50_ns: int | None = knob("median", default=None, gt=0, le=_LONGEST_NS)
    p90_ns: int | None = knob("90th percentile", default=None, gt=0, le=_LONGEST_NS)
    p95_ns: int | None = knob("95th percentile", default=None, gt=0, le=_LONGEST_NS)
    p99_ns: int | None = knob("99th percentile", default=None, gt=0, le=_LONGEST_NS)

    @classmethod
    def in_full(cls, raw: object) -> Full:
        """There is no short form; a bare duration is told what to be."""
        if isinstance(raw, str | int | float):
            raise ValueError(f"must be a mapping such as {{mean: 2ms, p99: 3ms}}, not {shown(raw)}")
        return Full(raw)

    def __post_init__(self) -> None:
        """Percentiles rise, the last reaches the mean, and the median alone tells no spread."""
        found = list(self.percentiles.items())
        for (low, low_ns), (high, high_ns) in pairwise(found):
            if high_ns < low_ns:
                raise ValueError(
                    f"p{high} ({format_duration(high_ns)}) is below p{low}"
                    f" ({format_duration(low_ns)}); are the columns mapped the right way?"
                )
        if [percentile for percentile, _ in found] == [50]:
            raise ValueError("p50 alone tells no spread; give p90, p95 or p99 beside it")
        if found and found[-1][1] < self.mean_ns:
            raise ValueError(
                f"p{found[-1][0]} ({format_duration(found[-1][1])}) is below the mean"
                f" ({format_duration(self.mean_ns)}); are the columns mapped the right way?"
            )

    @property
    def percentiles(self) -> dict[int, int]:
        """Nanoseconds by percentile, those that are printed."""
        found = {percentile: getattr(self, f"p{percentile}_ns") for percentile in PERCENTILES}
        return {percentile: ns for percentile, ns in found.items() if ns is not None}


def by_size(doc: str) -> Any:
    """A knob of times by batch size, empty by default."""
    return field(default_factory=dict, metadata={"knob": Bounds(doc)})


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedGroup:
    """One curve of a table: what ran (by column of the table), and its times by batch size."""

    labels: Mapping[str, str] = by_size("what the table says of it, by column")
    points: Mapping[int, BatchTimes] = knob("batch size to its times")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published table, or the part of it that was kept, and where it is from."""

    format: Literal["delayline-published/1"] = knob("format of the file")
    source: str = knob("where the figures are from", default="")
    columns: Mapping[str, str] = by_size("what was read, to the column that it was read from")
    notes: tuple[str, ...] = knob("licence, attribution, conditions", default=())
    per: Per = knob("what batch sizes count")
    groups: tuple[PublishedGroup, ...] = knob("the curves")

    def choose(self, wanted: str | None) -> PublishedGroup:
        """The one group with these labels (``gpu=A30,precision=FP16``), or the only one.

        Raises LabelError, which says what there is.
        """
        labels = parse_labels(wanted) if wanted else {}
        if labels and not any(group.labels for group in self.groups):
            raise LabelError("its groups have no labels to choose by; leave `group` out")
        found = chosen(self.groups, lambda group: group.labels, labels)
        if len(found) == 1:
            return found[0]
        differ = [
            name
            for name in dict.fromkeys(name for group in found for name in group.labels)
            if len({group.labels.get(name) for group in found}) > 1
        ]
        there = "; ".join(
            show_labels({name: group.labels.get(name, "-") for name in differ}) for group in found
        )
        of = f" are {wanted}" if wanted else " are in it"
        raise LabelError(f"{len(found)} groups{of}; say which by `group`: {there}")


def save_published(path: Path, published: Published) -> None:
    """Write the file, whole or not at all, a line for each batch size. Raises OSError."""
    document = plain(published)
    for group in document["groups"]:
        group["points"] = {size: Line(times) for size, times in group["points"].items()}
    write_text(path, dump_yaml(document))


def load_published(path: Path) -> Published:
    """Read such a file. Raises ConfigError with everything that is wrong, one line each."""
    if not path.exists():
        hint = "there is no such file; write one with `delayline import-profile`"
        raise ConfigError([Problem(str(path), "", hint)])
    raw = read_yaml(path)
    try:
        found = value_of(Published, raw, {"folder": path.parent})
    except ValidationError as error:
        raise ConfigError(
            [
                Problem(str(path), key_path(each["loc"]), each["msg"])
                for each in error.errors(include_url=False)
            ]
        ) from error
    if not found.groups:
        raise ConfigError([Problem(str(path), "groups", "is empty")])
    return found
