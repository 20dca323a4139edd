"""What a backend is: somewhere to evaluate a function on many tasks, the same answers everywhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Handle = TypeVar("Handle")

AHEAD = 4
"""Tasks a worker that may be given out before the first answer is taken: enough that a slow task holds
nobody up, few enough that answers which nobody has taken yet fit into memory.
"""


class BackendError(ValueError):
    """A backend that cannot be used as it was asked for; the text says what to do."""


class WorkerLostError(RuntimeError):
    """Workers died again and again over one task."""

    def __init__(self, times: int) -> None:
        super().__init__(
            f"workers died {times} times over the same task (the system kills what takes too much"
            " memory); ask for fewer --jobs or fewer requests"
        )


class Backend(Protocol):
    """Runs tasks on ``workers`` at a time. A context: its workers are let go at the end.

    A task's answer depends on the task alone, so that every backend gives the same answers in the same
    order, bit for bit. Function, tasks and answers must be picklable.
    """

    workers: int

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """The answers in the order of the tasks, each as soon as it and those before it are known.

        An exception of a task is raised at its place. Leaving the iterator early gives up the tasks that
        have not begun. A worker that dies loses nothing: its tasks run again. Raises WorkerLostError
        where they die over one task again and again.
        """
        ...

    def close(self) -> None:
        """Let the workers go."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def in_order(
    tasks: Sequence[T],
    ahead: int,
    *,
    give: Callable[[T], Handle],
    take: Callable[[Handle], R],
    drop: Callable[[Handle], object],
) -> Iterator[R]:
    """The answers of a pool, in order: at most ``ahead`` tasks are given out and not taken yet.

    ``drop`` is called for each that is left when the iterator ends early.
    """
    given: deque[Handle] = deque()
    try:
        for task in tasks:
            given.append(give(task))
            if len(given) >= ahead:
                yield take(given.popleft())
        while given:
            yield take(given.popleft())
    finally:
        for handle in given:
            drop(handle)
