"""Simulated against real: how far predictions, replays and repeats lie from a real run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from configs.atomic import write_text
from policies.runlog import Int64
from reports.percentiles import NS_PER_MS, Distribution, percentiles

COMPARED = ("mean", "p50", "p95", "p99")
"""The latency statistics whose errors are told."""
SOURCES = ("predicted", "replayed", "repeat")
"""What is held against the real run: simulated from a profile taken before; simulated with the run's
own arrivals and batch times; a second real run."""
QUANTILES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95, 97, 98, 99, 99.5, 99.9)
"""Percents at which whole distributions are held against one another."""

_FORMAT = "delayline-validation/1"


@dataclass(frozen=True, slots=True)
class Sample:
    """The latencies of one run, in short: statistics, and the percentiles at :data:`QUANTILES`."""

    latency: Distribution
    quantiles_ms: tuple[float, ...]

    @staticmethod
    def of(latencies_ns: Int64) -> Sample:
        """From latencies (n,), as ``metrics.latencies_ns`` gives them; no quantiles without any."""
        latency = Distribution.of(latencies_ns)
        if latency.count == 0:
            return Sample(latency, ())
        found = percentiles(latencies_ns, QUANTILES)
        return Sample(latency, tuple(value / NS_PER_MS for value in found))


def error_pct(value: float | None, real: float | None) -> float | None:
    """100 (value - real) / real; None where either is missing or real is 0."""
    if value is None or real is None or real == 0:
        return None
    return 100 * (value - real) / real


@dataclass(frozen=True, slots=True)
class Scenario:
    """One setting, run for real and held against the :data:`SOURCES`."""

    name: str
    load: float
    policy: str
    real: Sample
    predicted: Sample
    replayed: Sample
    repeat: Sample

    def errors_pct(self, source: str) -> dict[str, float | None]:
        """Errors of one of the :data:`SOURCES` for each of the :data:`COMPARED` statistics."""
        other: Sample = getattr(self, source)
        return {
            name: error_pct(other.latency.get(name), self.real.latency.get(name))
            for name in COMPARED
        }

    def to_json(self) -> dict[str, object]:
        """The entry of ``scenarios`` in ``validate --json``; latencies in milliseconds."""
        errors = {f"{source}_error_pct": self.errors_pct(source) for source in SOURCES}
        return {
            "name": self.name,
            "load": self.load,
            "policy": self.policy,
            "real": self.real.latency.to_json(),
            **errors,
        }


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """The size of all errors of one source, over scenarios and :data:`COMPARED` statistics.

    Nearest-rank percentiles of the absolute errors; None where there is no error to tell.
    """

    median_abs_pct: float | None
    p95_abs_pct: float | None


@dataclass(frozen=True, slots=True)
class Validation:
    """All scenarios of a validation."""

    scenarios: tuple[Scenario, ...]

    def summary(self, source: str) -> ErrorSummary:
        """The errors of one of the :data:`SOURCES` in two numbers."""
        found = [
            abs(error)
            for scenario in self.scenarios
            for error in scenario.errors_pct(source).values()
            if error is not None
        ]
        if not found:
            return ErrorSummary(None, None)
        ordered = np.quantile(found, [0.5, 0.95], method="inverted_cdf")
        return ErrorSummary(float(ordered[0]), float(ordered[1]))

    def to_json(self) -> dict[str, object]:
        """The object that ``validate --json`` prints."""
        return {
            "scenarios": [scenario.to_json() for scenario in self.scenarios],
            "summary": {source: asdict(self.summary(source)) for source in SOURCES},
        }

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The table for a reader, :data:`HEADER` first: a row a scenario and source."""
        yield HEADER
        for scenario in self.scenarios:
            real = scenario.real.latency
            yield (
                scenario.name,
                f"{scenario.load:.2f}",
                scenario.policy,
                "real, ms",
                *(_figure(real.get(name), 2) for name in COMPARED),
            )
            for source in SOURCES:
                errors = scenario.errors_pct(source).values()
                yield "", "", "", f"{source}, %", *(_figure(error, 1, "+") for error in errors)


HEADER = ("scenario", "load", "policy", "", *COMPARED)


def _figure(value: float | None, places: int, sign: str = "") -> str:
    if value is None:
        return "–"
    # Adding 0.0 turns -0.0 into 0.0.
    return f"{round(value, places) + 0.0:{sign}.{places}f}"


def write(path: Path, validation: Validation) -> None:
    """Keep a validation, whole or not at all, as JSON that ``read`` takes. Raises OSError."""
    document = {"format": _FORMAT, "scenarios": [asdict(each) for each in validation.scenarios]}
    write_text(path, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read(path: Path) -> Validation:
    """A validation that ``write`` kept. Raises ValueError, naming the file, where it is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']!r}, this version reads {_FORMAT!r}")
        return Validation(tuple(_scenario(each) for each in document["scenarios"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no validation ({error}); run `validate` again") from error


def _scenario(entry: Mapping[str, object]) -> Scenario:
    samples = {name: _sample(entry[name]) for name in ("real", *SOURCES)}
    return Scenario(
        name=str(entry["name"]),
        load=float(str(entry["load"])),
        policy=str(entry["policy"]),
        **samples,
    )


def _sample(entry: object) -> Sample:
    if not isinstance(entry, dict):
        raise TypeError("a sample is no object")
    quantiles: Sequence[float] = entry["quantiles_ms"]
    return Sample(Distribution(**entry["latency"]), tuple(quantiles))
