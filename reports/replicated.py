"""Figures over independent replications: means, with Student's t intervals where there are several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.confidence import Estimate, over_replications
from reports.metrics import Metrics

CONFIDENCE = 0.95
_SAME_IN_ALL = ("engine", "seed")


@dataclass(frozen=True, slots=True)
class Replicated:
    """The metrics of one or more replications of one setting.

    Figures are named by their place in ``Metrics.to_json()``, such as ``("latency_ms", "p99")``.
    """

    each: tuple[Metrics, ...]

    def __post_init__(self) -> None:
        if not self.each:
            raise ValueError("figures need at least one replication, not 0")

    def figure(self, *place: str) -> Estimate | None:
        """The mean of one figure over the replications that have it; None where none has."""
        found = [_at(metrics.to_json(), place) for metrics in self.each]
        return _estimate(found)

    def to_json(self) -> dict[str, object]:
        """``Metrics.to_json()``, its numbers being means over replications where there are several.

        Then ``replications`` is added: ``n``, ``confidence``, and the same object once more with
        ``{estimate, low, high}`` in place of every number.
        """
        objects = [metrics.to_json() for metrics in self.each]
        if len(objects) == 1:
            return objects[0]
        means = _merged(objects, _value)
        intervals = _merged(objects, _interval)
        for key in _SAME_IN_ALL:
            means[key] = objects[0][key]
            del intervals[key]
        head = {"n": len(objects), "confidence": CONFIDENCE}
        return {**means, "replications": {**head, **intervals}}


def _at(value: Any, place: Sequence[str]) -> float | None:
    for part in place:
        value = value[part]
    found: float | None = value
    return found


def _estimate(values: Sequence[float | None]) -> Estimate | None:
    found = [value for value in values if value is not None]
    return over_replications(found, CONFIDENCE) if found else None


def _value(found: Estimate | None) -> object:
    return None if found is None else found.value


def _interval(found: Estimate | None) -> object:
    if found is None:
        return None
    return {"estimate": found.value, "low": found.low, "high": found.high}


def _merged(
    objects: Sequence[Mapping[str, Any]], told: Callable[[Estimate | None], object]
) -> dict[str, Any]:
    """One object in place of several of the same shape, each number told by its estimate."""
    merged: dict[str, Any] = {}
    for key, first in objects[0].items():
        values = [each[key] for each in objects]
        if isinstance(first, Mapping):
            merged[key] = _merged(values, told)
        else:
            merged[key] = None if isinstance(first, str) else told(_estimate(values))
    return merged
