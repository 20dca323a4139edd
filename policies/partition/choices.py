"""What a partition may be asked for: its goal and its strategy."""

from __future__ import annotations

from enum import StrEnum


class Goal(StrEnum):
    """What a cut is to make small."""

    THROUGHPUT = "throughput"
    """The load of the busiest part."""
    LATENCY = "latency"
    """The time of one batch through all parts, transfer included."""


class Strategy(StrEnum):
    """How the boundaries of stages are chosen."""

    BALANCED = "balanced"
    """By costs, for a goal."""
    BY_OPERATOR_KIND = "by_operator_kind"
    """Lookups apart from dense layers."""
    MANUAL = "manual"
    """After the nodes that the user names."""
