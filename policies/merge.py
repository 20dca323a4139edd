"""Merging: when a request that comes from several stages goes on, and how their results become one.

A join without a merge rule waits for all its parents and passes their tensors on side by side. A rule says
when: for all, for so many of them, or until a time with what there is; and how. *When* is decided by the
scheduler, under every clock alike; *how* is done where the tensors are, by the same object.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from policies.contract import NEVER_NS
from policies.knobs import knob
from policies.tensors import Specs, TensorSpec

Branches = Mapping[str, Mapping[str, NDArray[Any]]]
"""By branch, which goes by the name of its last stage, and by tensor: arrays of shape (rows, ...)."""
Present = Mapping[str, NDArray[np.bool_]]
"""By branch, (rows,): whether its result is there. What stands in a row without one means nothing."""


class MergeError(ValueError):
    """The branches' tensors do not fit the merge; names the branch, the tensor, and what to do."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a merge does at a join whose branches are known."""

    takes: Mapping[str, tuple[str, ...]]
    """By branch, the tensors that it reads."""
    gives: Specs
    """The tensors that it makes of them. What else a stage takes passes on as it is."""


NOTHING = Fitted({}, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge(ABC):
    """One way to merge. Subclasses are frozen dataclasses whose further fields are knobs.

    A branch that comes too late is not waited for: its work is given up where it still waits in a queue,
    and of no use where it runs. Deadlines of merges come of hedging's trade: a little quality for the
    slowest branch's time (Dean and Barroso 2013, "good enough" results).

    A row of the result depends on the same row of the branches alone, so that a request gets the same answer
    whatever batch it is in.
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
    default: Mapping[str, float] | None = knob(
        "by branch, the number that a missing result is filled with; absent is to do without it, or zero"
        " where its place cannot stay empty",
        default=None,
        hashed=False,
    )

    @abstractmethod
    def fit(
        self, branches: Mapping[str, Specs], wanted: Collection[str], common: Collection[str] = ()
    ) -> Fitted:
        """What it takes and gives, for branches that put these tensors out and a stage that takes ``wanted``.

        ``common`` are tensors that no branch has for itself: all have them from one stage before. Raises
        MergeError where the branches do not fit.
        """

    @abstractmethod
    def merged(self, branches: Branches, present: Present) -> dict[str, NDArray[Any]]:
        """The tensors of :attr:`Fitted.gives`, (rows, ...), of those of :attr:`Fitted.takes`."""

    def width(self, widths: Sequence[int]) -> int | None:
        """How many candidates the result holds of branches that pass on so many; None where only the data,
        or a user's code, could tell.
        """
        return sum(widths)

    @property
    def waits_for_all(self) -> bool:
        """Whether no branch is ever done without."""
        return self.quorum is None and self.deadline_ns is None

    @property
    def how(self) -> Self:
        """The same way to merge, at no particular time."""
        return replace(self, quorum=None, deadline_ns=None)

    def check(self, branches: Sequence[str]) -> None:
        """Raise ValueError, naming the knob, where it does not fit a join of these stages."""
        if len(branches) < 2:
            raise ValueError(f"needs several stages to merge, and there is {len(branches)}")
        if self.quorum is not None and self.quorum > len(branches):
            raise ValueError(
                f"quorum must be at most the {len(branches)} stages before, not {self.quorum}"
            )
        check_branches("default", self.default or {}, branches)

    def needed(self, parents: int) -> int:
        """How many of so many branches a request waits for, before its time is up."""
        return parents if self.quorum is None else min(self.quorum, parents)

    def due_ns(self, arrival_ns: int) -> int:
        """From when on one branch is enough."""
        return NEVER_NS if self.deadline_ns is None else arrival_ns + self.deadline_ns

    def fill(self, branch: str) -> float | None:
        """What a missing result of the branch is filled with; None for nothing."""
        return (self.default or {}).get(branch)

    def filled(self, branch: str, values: NDArray[Any], present: Present) -> NDArray[Any]:
        """The branch's values (rows, ...), with its default, or zero, in the rows that are missing."""
        missing = ~present[branch]
        if missing.any():
            values = values.copy()
            values[missing] = self.fill(branch) or 0
        return values


def check_branches(knob_name: str, given: Mapping[str, Any], branches: Sequence[str]) -> None:
    """Raise ValueError where a knob that goes by branch names one that is not there."""
    for name in given:
        if name not in branches:
            raise ValueError(
                f"{knob_name} names {name!r}, which is none of the stages before: {', '.join(branches)}"
            )


def tensor_of(branches: Mapping[str, Specs], branch: str, name: str, knob_name: str) -> TensorSpec:
    """A branch's tensor. Raises MergeError where it has none of that name, which the knob gives."""
    if name not in branches[branch]:
        there = ", ".join(branches[branch]) or "nothing"
        raise MergeError(
            f"branch {branch} puts out no {name!r}, only {there}; have it put that out, or name another"
            f" tensor by merge.{knob_name}"
        )
    return branches[branch][name]
