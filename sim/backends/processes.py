"""Processes of this machine: for the reference driver, which is Python and would queue for one interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sim.backends.base import R, T


class Processes:
    """joblib's loky pool."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """See :class:`~sim.backends.base.Backend`."""
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=self.workers, return_as="generator")
        yield from parallel(delayed(function)(task) for task in tasks)

    def close(self) -> None:
        """Nothing: joblib keeps its pool for the next call and ends it when idle."""
