"""What a backend is: somewhere to evaluate a function on many tasks, the same answers everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Backend(Protocol):
    """Runs tasks on ``workers`` at a time.

    A task's answer depends on the task alone, so that every backend gives the same answers in the same
    order, bit for bit. Function, tasks and answers must be picklable.
    """

    workers: int

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """The answers in the order of the tasks, each as soon as it and those before it are known.

        An exception of a task is raised at its place. Leaving the iterator early gives up the tasks that
        have not begun. A worker that dies loses nothing: its tasks run again.
        """
        ...

    def close(self) -> None:
        """Let the workers go."""
        ...
