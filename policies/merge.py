"""Merging: when a request that comes from several stages goes on, and how their results become one.

A join without a merge rule waits for all its parents and passes their tensors on side by side. A rule says
when: for all, for so many of them, or until a time with what there is; and how. *When* is decided by the
scheduler, under every clock alike; *how* is done where the tensors are, by the same object.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from policies.contract import NEVER_NS
from policies.knobs import knob


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge(ABC):
    """One way to merge. Subclasses are frozen dataclasses whose further fields are knobs.

    A branch that comes too late is not waited for: its work is given up where it still waits in a queue,
    and of no use where it runs. Deadlines of merges come of hedging's trade: a little quality for the
    slowest branch's time (Dean and Barroso 2013, "good enough" results).
    """

    kind: ClassVar[str]

    quorum: int | None = knob(
        "go on once so many branches are done; absent is all of them", default=None, ge=1
    )
    deadline_ns: int | None = knob(
        "go on so long after the request's arrival with what there is, one branch at least; absent is never",
        default=None,
        gt=0,
    )

    @property
    def waits_for_all(self) -> bool:
        """Whether no branch is ever done without."""
        return self.quorum is None and self.deadline_ns is None

    def check(self, parents: int) -> None:
        """Raise ValueError, naming the knob, where it does not fit a join of so many stages."""
        if parents < 2:
            raise ValueError(f"needs several stages to merge, and there is {parents}")
        if self.quorum is not None and self.quorum > parents:
            raise ValueError(
                f"quorum must be at most the {parents} stages before, not {self.quorum}"
            )

    def needed(self, parents: int) -> int:
        """How many of so many branches a request waits for, before its time is up."""
        return parents if self.quorum is None else min(self.quorum, parents)

    def due_ns(self, arrival_ns: int) -> int:
        """From when on one branch is enough."""
        return NEVER_NS if self.deadline_ns is None else arrival_ns + self.deadline_ns
