"""A dispatcher at work on a thread of its own, and the ways in which requests reach it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.dispatcher import Dispatcher, Listener, Submission
from executors.payloads import Payloads, check_inputs
from executors.processes import ProcessTransport
from executors.realtime import pin_this_thread, sharpen_this_thread
from executors.slab import Columns
from executors.wiring import Wiring
from policies.contract import NEVER_NS
from policies.pipeline import Pipeline
from policies.requests import RequestTable
from policies.runlog import Outcome, RunLog
from policies.scheduler import Scheduler

INTERRUPTED = "interrupted"
_HEAD_START_NS = 5_000_000
"""From the making of a session to time 0, so that its thread stands ready when requests begin."""
_IN_FLIGHT_S = 5.0
"""How long a cancelled session waits for batches that run before it ends their workers."""


class ExecutorError(RuntimeError):
    """The executor cannot do what was asked, or has failed; the text says what and why."""


class RequestFailedError(RuntimeError):
    """A request ended without an answer: it was shed, expired or failed, for the reason in the text."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        self.outcome = outcome
        self.reason = reason
        super().__init__(f"{outcome.name.lower()}: {reason}")


class Session:
    """One run of a pipeline on replicas that are up, from time 0 until it is closed."""

    def __init__(
        self,
        pipeline: Pipeline,
        wiring: Wiring,
        transport: ProcessTransport,
        listener: Listener,
        cores: Sequence[int],
        on_failure: Callable[[ExecutorError], None] = lambda failure: None,
    ) -> None:
        self._transport = transport
        self._cores = cores
        self._on_failure = on_failure
        self._origin_ns = transport.now_ns() + _HEAD_START_NS
        table = RequestTable()
        self._scheduler = Scheduler(pipeline, table)
        self._dispatcher = Dispatcher(
            self._scheduler, table, Payloads(wiring), transport, listener, self._origin_ns
        )
        self._failure: ExecutorError | None = None
        self._ended = threading.Event()
        transport.begin(
            {
                (index, replica)
                for index, stage in enumerate(pipeline.stages)
                for replica in range(stage.there, stage.replicas)
            }
        )
        self._thread = threading.Thread(target=self._dispatch, name="delayline-dispatch")
        self._thread.start()

    def now_ns(self) -> int:
        """Time since the start."""
        return self._transport.now_ns() - self._origin_ns

    @property
    def ended(self) -> int:
        """Requests that have an outcome."""
        return self._scheduler.ended

    def failure(self) -> ExecutorError | None:
        """Why the dispatcher has given up, if it has."""
        return self._failure

    def send(self, submission: Submission) -> None:
        """Hand requests to the dispatcher; one thread at a time."""
        self._dispatcher.submit(submission)
        self._transport.wake()

    def no_more(self) -> None:
        """Requests that are there are served, then the session ends."""
        self._dispatcher.no_more()
        self._transport.wake()

    def cancel(self, reason: str) -> None:
        """End the session now: what waits fails; batches that run may finish, for a while."""
        self._dispatcher.cancel(reason)
        self._transport.wake()
        if not self._ended.wait(_IN_FLIGHT_S):
            for stage, replica in list(self._dispatcher.running):
                self._transport.kill(stage, replica)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until the session has ended; False if it has not after the timeout."""
        return self._ended.wait(timeout_s)

    def log(self, info: Mapping[str, object]) -> RunLog:
        """Everything that happened, once the session has ended. Raises ExecutorError if it broke."""
        self._ended.wait()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        measured = self._dispatcher.meter.summary()
        return self._scheduler.log(self._dispatcher.now_ns, {"clock": "wall", **info, **measured})

    def _dispatch(self) -> None:
        pin_this_thread(self._cores)
        sharpen_this_thread()
        try:
            while not self._dispatcher.finished:
                self._dispatcher.step()
        except Exception as error:
            failure = ExecutorError(f"the dispatcher failed: {error}")
            failure.__cause__ = error
            self._failure = failure
            self._settle()
            self._on_failure(failure)
        finally:
            self._ended.set()

    def _settle(self) -> None:
        """Take in the ends of batches that still run, so that the next session meets idle replicas."""
        left = set(self._dispatcher.running)
        give_up_ns = self._transport.now_ns() + int(_IN_FLIGHT_S * 1e9)
        while left:
            for report in self._transport.wait(give_up_ns):
                left.discard((report.stage, report.replica))
            if self._transport.now_ns() >= give_up_ns:
                for stage, replica in left:
                    self._transport.kill(stage, replica)
                give_up_ns = NEVER_NS


class LiveAnswers:
    """Futures of requests under way, answered from the dispatcher's thread."""

    def __init__(self) -> None:
        self._futures: dict[int, Future[Columns]] = {}

    def expect(self, request: int) -> Future[Columns]:
        """The future of a request that is about to be sent."""
        future: Future[Columns] = Future()
        # It is under way from the start: a caller cannot take it back by cancelling.
        future.set_running_or_notify_cancel()
        self._futures[request] = future
        return future

    def completed(
        self,
        now_ns: int,  # noqa: ARG002
        requests: Sequence[int],
        answers: Columns,
    ) -> None:
        """See :class:`executors.dispatcher.Listener`."""
        for row, request in enumerate(requests):
            answer = {name: column[row] for name, column in answers.items()}
            self._futures.pop(request).set_result(answer)

    def dropped(
        self,
        now_ns: int,  # noqa: ARG002
        requests: Sequence[int],
        outcome: Outcome,
        reason: str,
    ) -> None:
        """See :class:`executors.dispatcher.Listener`."""
        for request in requests:
            self._futures.pop(request).set_exception(RequestFailedError(outcome, reason))

    def abandon(self, failure: BaseException) -> None:
        """Nobody will answer what is left."""
        while self._futures:
            with contextlib.suppress(KeyError):
                self._futures.popitem()[1].set_exception(failure)


class LiveSession:
    """A session that serves whoever calls :meth:`submit`, from any number of threads."""

    def __init__(
        self,
        pipeline: Pipeline,
        wiring: Wiring,
        transport: ProcessTransport,
        cores: Sequence[int],
        info: Mapping[str, object],
    ) -> None:
        self._wiring = wiring
        self._info = info
        self._answers = LiveAnswers()
        self._session = Session(
            pipeline, wiring, transport, self._answers, cores, self._answers.abandon
        )
        self._lock = threading.Lock()
        self._sent = 0
        need = pipeline.needs_keys
        self._keyed: bool | None = True if need else None
        """Whether requests have keys; None while that is open."""
        self._without_key = (
            f"{need}; give the request a key"
            if need
            else "give every request of a session a key, or none of them"
        )
        self._closed = False
        while self._session.now_ns() < 0:
            time.sleep(_HEAD_START_NS / 1e9)

    def submit(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        items: int = 1,
        deadline_after_ns: int | None = None,
        priority: int = 0,
        key: int | None = None,
    ) -> Future[Columns]:
        """Send one request: a row by name, without a batch dimension. Its answer comes as a future.

        ``key`` says whom or what it is about, for stages that recognise like requests by it; either all
        requests of a session have one, or none has (else ValueError).

        The future raises :class:`RequestFailedError` where the request was shed, expired or failed. Its
        callbacks run on the dispatcher's thread and delay it. Raises ValueError for inputs that do not
        fit, ExecutorError once closed.
        """
        row = {name: np.asarray(value)[np.newaxis] for name, value in inputs.items()}
        check_inputs(self._wiring, row, rows=1)
        if items < 1:
            raise ValueError(f"items must be 1 or more, not {items}")
        with self._lock:
            if self._closed:
                raise ExecutorError("the session is closed; open another one to send requests")
            if failure := self._session.failure():
                raise failure
            now_ns = self._session.now_ns()
            if self._keyed is None:
                self._keyed = key is not None
            elif self._keyed != (key is not None):
                raise ValueError(self._without_key)
            due_ns = NEVER_NS if deadline_after_ns is None else now_ns + deadline_after_ns
            future = self._answers.expect(self._sent)
            self._sent += 1
            keys = None if key is None else [key]
            self._session.send(Submission([now_ns], [due_ns], [items], [priority], row, keys))
        if failure := self._session.failure():
            # It may have failed after it was asked above: then nobody else would tell this future.
            self._answers.abandon(failure)
        return future

    def close(self, *, cancel: bool = False) -> RunLog:
        """Serve what has been sent (or fail what waits, with ``cancel``) and return the log."""
        with self._lock:
            self._closed = True
        if cancel:
            self._session.cancel("the session was cancelled")
        else:
            self._session.no_more()
        return self._session.log(self._info)
