"""Processes of this machine: for the reference driver, since Python threads share one interpreter."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic

from sim.backends.base import Backend, R, T, WorkerLostError

MOST_LOSSES = 3
"""How often workers may die before the next answer is known."""
_AHEAD = 2
"""Tasks a worker that are given out at once: as many as loky's manager passes on."""
_TURN_S = 0.001
"""How long the manager is given for a turn."""
_IDLE_S = 300
"""How long workers wait for more work before they end."""


class Processes(Backend):
    """loky's pool, as joblib brings it; with one worker, the caller's own process.

    The pool belongs to the process and outlives the backend: workers take seconds to import what they
    need, and end by themselves when there is nothing to do.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """See :class:`~sim.backends.base.Backend`."""
        if self.workers == 1:
            return map(function, tasks)
        return self._map(function, tasks)

    def close(self) -> None:
        """Nothing: see above."""

    def _map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        left = iter(tasks)
        given: deque[_Given[T, R]] = deque()
        try:
            while True:
                room = _AHEAD * self.workers - len(given)
                given.extend(_Given(task) for task in islice(left, room))
                if not given:
                    return
                answer = self._first(function, given)
                given.popleft()
                yield answer
        finally:
            if given:
                _until_passed_on(given)
                self._pool().shutdown(wait=False, kill_workers=True)

    def _first(self, function: Callable[[T], R], given: Sequence[_Given[T, R]]) -> R:
        """The first one's answer; all that are not given out yet are."""
        lost = _lost()
        losses = 0
        while True:
            try:
                with _without_interrupts():
                    pool = self._pool()
                    futures = [each.give(pool, function) for each in given]
                return futures[0].result()
            except lost as error:
                losses += 1
                if losses > MOST_LOSSES:
                    raise WorkerLostError(losses) from error
                for each in given:
                    each.forget(lost)

    def _pool(self) -> Any:
        from joblib.externals.loky import get_reusable_executor

        return get_reusable_executor(
            max_workers=self.workers, timeout=_IDLE_S, initializer=_ignore_interrupts
        )


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C waits until this is over. Workers that are begun meanwhile never hear of it, and so have
    nothing to say when a terminal sends it to them as well: it is for this process to stop them.
    """
    from joblib.externals.loky.backend import resource_tracker

    resource_tracker.ensure_running()  # else it is begun with the workers, and lets signals in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(slots=True)
class _Given(Generic[T, R]):
    """A task that is given out, or is to be."""

    task: T
    future: Future[R] | None = None

    def give(self, pool: Any, function: Callable[[T], R]) -> Future[R]:
        """Give it out, unless it is."""
        if self.future is None:
            self.future = pool.submit(function, self.task)
        return self.future

    def forget(self, lost: tuple[type[Exception], ...]) -> None:
        """Once its pool is gone: have it given out again, unless it was answered before."""
        if self.future is not None and (
            not self.future.done() or isinstance(self.future.exception(), lost)
        ):
            self.future = None


def _until_passed_on(given: Sequence[_Given[T, R]]) -> None:
    """Wait until loky's manager holds none back: it stumbles over those when the pool is stopped.

    It passes on as many as are ever given out at once, so that this takes one turn of its thread.
    """
    futures = [each.future for each in given if each.future is not None]
    while not all(future.running() or future.done() for future in futures):
        time.sleep(_TURN_S)


def _lost() -> tuple[type[Exception], ...]:
    """What a task ends with when its pool does."""
    from joblib.externals.loky.process_executor import ShutdownExecutorError, TerminatedWorkerError

    return TerminatedWorkerError, ShutdownExecutorError
