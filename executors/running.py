"""One workload on a session, from the first request sent to the last that has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.load import Generator, run_generator
from executors.realtime import pin_this_thread, sharpen_this_thread
from executors.session import INTERRUPTED, Session
from executors.slab import Columns
from executors.wiring import Wiring
from policies.runlog import Outcome, RunLog

_LOOK_S = 0.2

Progress = Callable[[int, int], None]
"""Called now and then with how many requests have ended, of how many."""


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """What a run gave. Row k of each answer is request k's; zeros where it was not completed.

    Request k had row k of the inputs, modulo their number; of sampled inputs, where it has a key, row key.
    """

    log: RunLog
    answers: Columns
    sent: Columns
    """Row k is what request k carried; without rows where answers are not kept."""
    interrupted: bool
    """Ctrl-C ended the run early; the log has the requests that had been sent."""


class Collector:
    """Answers of a run, by request; tells a closed loop who is free. Keeps none for 0 requests."""

    def __init__(self, wiring: Wiring, requests: int, source: Generator) -> None:
        self._source = source
        self._kept = requests > 0
        self.answers: dict[str, NDArray[Any]] = {
            name: np.zeros((requests, *wiring.columns[column].shape), wiring.columns[column].dtype)
            for name, column in wiring.answers.items()
        }

    def completed(self, now_ns: int, requests: Sequence[int], answers: Columns) -> None:
        """See :class:`executors.dispatcher.Listener`."""
        if self._kept:
            for name, column in self.answers.items():
                column[np.asarray(requests)] = answers[name]
        self._source.freed(now_ns, len(requests))

    def dropped(
        self,
        now_ns: int,
        requests: Sequence[int],
        outcome: Outcome,  # noqa: ARG002
        reason: str,  # noqa: ARG002
    ) -> None:
        """See :class:`executors.dispatcher.Listener`."""
        self._source.freed(now_ns, len(requests))


def drive(
    session: Session,
    source: Generator,
    cores: Sequence[int],
    total: int,
    drain_s: float,
    progress: Progress | None,
) -> bool:
    """Send from a thread on ``cores`` and wait for the end of all; True if interrupted by Ctrl-C.

    Nothing runs any more when it returns or raises.
    """
    stop = threading.Event()

    def send() -> None:
        pin_this_thread(cores)
        sharpen_this_thread()
        run_generator(source, session, stop, session.no_more)

    sender = threading.Thread(target=send, name="delayline-load")
    sender.start()
    interrupted = False
    try:
        while not session.wait(_LOOK_S if progress else None):
            if progress:
                progress(session.ended, total)
    except KeyboardInterrupt:
        interrupted = True
        _stop_early(session, stop, drain_s)
    except BaseException:
        # The caller's progress failed: nothing may be left running when it hears of it.
        session.cancel(INTERRUPTED)
        raise
    finally:
        stop.set()
        sender.join()
        session.wait()
    if progress:
        progress(session.ended, total)
    return interrupted


def _stop_early(session: Session, stop: threading.Event, drain_s: float) -> None:
    """Send no more; let what is under way end, within reason."""
    stop.set()
    try:
        if not session.wait(drain_s):
            session.cancel(INTERRUPTED)
    except KeyboardInterrupt:
        session.cancel(INTERRUPTED)
