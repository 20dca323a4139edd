"""Between the dispatcher and the replicas: batches out, reports back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from executors.slab import Columns


class Finished(NamedTuple):
    """A batch is done and its outputs lie in the replica's memory. Times by the transport's clock."""

    stage: int
    replica: int
    started_ns: int
    compute_ns: int
    """Time that the model took, by the worker's measure."""


@dataclass(frozen=True, slots=True)
class Raised:
    """The model could not run its batch; the replica lives."""

    stage: int
    replica: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The replica died, whatever it ran is lost; ``returns`` if another process will take its place."""

    stage: int
    replica: int
    returns: bool


@dataclass(frozen=True, slots=True)
class Back:
    """A lost replica can run batches again."""

    stage: int
    replica: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A lost replica that was to return will not."""

    stage: int
    replica: int


Report = Finished | Raised | Lost | Back | Gone


class Transport(Protocol):
    """What carries batches to replicas: worker processes, or a stand-in on a clock of its own."""

    def now_ns(self) -> int:
        """The clock by which everything here is measured."""
        ...

    def inputs(self, stage: int, replica: int) -> Columns:
        """Where a replica's inputs go, before :meth:`start`."""
        ...

    def outputs(self, stage: int, replica: int) -> Columns:
        """Where its outputs are, after ``Finished`` and before the next :meth:`start`."""
        ...

    def start(self, stage: int, replica: int, requests: int, level: int) -> None:
        """Run the batch that lies in the replica's memory, at a level; 0 is full service."""
        ...

    def wait(self, until_ns: int) -> list[Report]:
        """Return at ``until_ns``, when there are reports, or when woken; whichever is first."""
        ...

    def launch(self, stage: int, replica: int) -> None:
        """Begin to bring up a replica that was let go; ``Back`` or ``Gone`` follows."""
        ...

    def retire(self, stage: int, replica: int) -> None:
        """Let a replica go that runs nothing."""
        ...

    def wake(self) -> None:
        """End a wait, now or the next one. May be called by any thread."""
        ...
