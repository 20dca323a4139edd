"""Threads of this process: the compiled driver lets go of the interpreter, so they run at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sim.backends.base import AHEAD, Backend, R, T, in_order


class Threads(Backend):
    """A pool of threads; with one worker, the caller's own."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """See :class:`~sim.backends.base.Backend`."""
        pool = self._pool
        if pool is None:
            return map(function, tasks)

        def give(task: T) -> Future[R]:
            return pool.submit(function, task)

        return in_order(
            tasks, AHEAD * self.workers, give=give, take=Future.result, drop=Future.cancel
        )

    def close(self) -> None:
        """Tasks that have not begun are given up."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
