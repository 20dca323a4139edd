"""The dispatcher: turns the scheduler by a transport's reports and a clock, and does what it commands.

It owns no thread and reads no clock but its transport's: :meth:`Dispatcher.step` is called by a thread
(``executors.session``) or by a test on a fake clock.
"""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Protocol

import numpy as np

from executors.payloads import Payloads
from executors.presence import Ways, went_on
from executors.slab import Columns
from executors.transport import Back, Finished, Gone, Lost, Raised, Report, Transport
from policies.commands import Complete, Drop, SetTimer, StartBatch, StartReplica, StopReplica
from policies.contract import NEVER_NS
from policies.requests import RequestTable
from policies.runlog import Outcome
from policies.scheduler import Scheduler

HELD_FOR_EVER = "held for ever: its policy set no time, and no request is to come"


@dataclass(frozen=True, slots=True, eq=False)
class Submission:
    """Requests that a client sends together, by column. Times are relative to the run's start.

    ``arrival_ns`` is when they were to be sent, which is when their latency begins.
    """

    arrival_ns: Sequence[int]
    deadline_ns: Sequence[int]
    items: Sequence[int]
    priority: Sequence[int]
    inputs: Columns
    keys: Sequence[int] | None = None
    """Whom or what each is about; all requests of a run have one, or none has."""


class Listener(Protocol):
    """Who is told how requests end. Called by the dispatcher's thread, so it has to be quick."""

    def completed(self, now_ns: int, requests: Sequence[int], answers: Columns) -> None:
        """These have their answers: a row each, in the order of ``requests``."""
        ...

    def dropped(self, now_ns: int, requests: Sequence[int], outcome: Outcome, reason: str) -> None:
        """These have none."""
        ...


class Meter:
    """Counts what the log does not hold: how late timers were, and what the workers measured."""

    def __init__(self, stages: Sequence[str]) -> None:
        self._stages = stages
        self._late_ns = array("q")
        self._batches = [0] * len(stages)
        self._compute_ns = [0] * len(stages)
        self._around_ns = [0] * len(stages)

    def timer_late(self, late_ns: int) -> None:
        """A timer was served so long after its time."""
        self._late_ns.append(late_ns)

    def batch(self, stage: int, compute_ns: int, whole_ns: int) -> None:
        """A batch took so long in the model, and so long from dispatch until its end was learnt."""
        self._batches[stage] += 1
        self._compute_ns[stage] += compute_ns
        self._around_ns[stage] += whole_ns - compute_ns

    def summary(self) -> dict[str, object]:
        """JSON-able: lateness of timers, and per stage the mean time in the model and around it."""
        return {
            "late_timers": lateness(self._late_ns),
            "worker": {
                name: {
                    "batches": batches,
                    "compute_mean_ns": compute // batches if batches else 0,
                    "overhead_mean_ns": around // batches if batches else 0,
                }
                for name, batches, compute, around in zip(
                    self._stages, self._batches, self._compute_ns, self._around_ns, strict=True
                )
            },
        }


def lateness(late_ns: Sequence[int]) -> dict[str, int]:
    """How late a number of events were: count, median, 99th percentile and maximum."""
    if not len(late_ns):
        return {"count": 0, "median_ns": 0, "p99_ns": 0, "max_ns": 0}
    median, p99, most = np.percentile(late_ns, [50, 99, 100])
    return {
        "count": len(late_ns),
        "median_ns": int(median),
        "p99_ns": int(p99),
        "max_ns": int(most),
    }


class Dispatcher:
    """Call :meth:`step` until :attr:`finished`. Requests get the ids 0, 1, 2, ... as they come.

    ``origin_ns`` is the run's start on the transport's clock; before it, time stands at 0.
    :meth:`submit`, :meth:`no_more` and :meth:`cancel` may be called by other threads, which then have
    to wake the transport; one thread at a time may submit.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        table: RequestTable,
        payloads: Payloads,
        transport: Transport,
        listener: Listener,
        origin_ns: int,
    ) -> None:
        self.scheduler = scheduler
        self.meter = Meter([stage.name for stage in scheduler.pipeline.stages])
        self.running: dict[tuple[int, int], StartBatch] = {}
        """(stage, replica) to the batch that it runs."""
        self.now_ns = 0
        self._table = table
        self._payloads = payloads
        self._transport = transport
        self._listener = listener
        self._origin_ns = origin_ns
        gone, ways = scheduler.gone(), Ways.of(scheduler.pipeline)
        self._gone = [
            {join: gone[join] for join in gone if join == stage or join in before}
            for stage, before in enumerate(ways.before)
        ]
        """For each stage, who went on without a branch there or before."""
        self._dispatched_ns: dict[tuple[int, int], int] = {}
        self._intake: deque[Submission] = deque()
        self._timers: list[tuple[int, int, SetTimer]] = []
        self._order = count()
        self._open = True
        self._cancelled = ""
        self._carry_out(scheduler.decide(0))

    def submit(self, submission: Submission) -> None:
        """Take in requests at the next step."""
        self._intake.append(submission)

    def no_more(self) -> None:
        """No more requests will be submitted; finish those that are there."""
        self._open = False

    def cancel(self, reason: str) -> None:
        """No more requests, and fail those that wait; batches that run are waited for."""
        self._cancelled = reason
        self._open = False

    @property
    def finished(self) -> bool:
        """Nothing is to come, every request has ended and nothing runs."""
        return (
            not self._open
            and not self._intake
            and not self.running
            and self.scheduler.ended == len(self._table)
        )

    def step(self) -> None:
        """Wait until something is due, apply all that is, decide once, and do what was decided.

        Timers count as of their own time, however late the wait ends: what they decide does not depend on
        it, and a replay of the run decides the same. What came in meanwhile counts as of now.
        """
        reports = self._transport.wait(self._next_ns())
        submissions = [self._intake.popleft() for _ in range(len(self._intake))]
        now_ns = max(self.now_ns, self._transport.now_ns() - self._origin_ns)
        self._ring_late(now_ns)
        self.now_ns = now_ns
        for submission in submissions:
            self._arrive(now_ns, submission)
        if len(reports) > 1:
            reports.sort(key=self._by_batch)
        for report in reports:
            self._apply(now_ns, report)
        self._ring(now_ns, now_ns)
        if self._cancelled:
            # Before the decision, so that nothing which waits starts on a replica that came free.
            self._carry_out(self.scheduler.close(now_ns, self._cancelled))
        self._carry_out(self.scheduler.decide(now_ns))
        if not self._open and not self._intake and self._stuck:
            self._carry_out(self.scheduler.close(now_ns, HELD_FOR_EVER))

    def _ring_late(self, now_ns: int) -> None:
        """Let the timers that were due before now go off, one instant after the other."""
        while self._timers and self._timers[0][0] < now_ns:
            self.now_ns = max(self.now_ns, self._timers[0][0])
            self._ring(self._timers[0][0], now_ns)
            if not self._cancelled:
                self._carry_out(self.scheduler.decide(self.now_ns))

    def _ring(self, due_ns: int, now_ns: int) -> None:
        while self._timers and self._timers[0][0] <= due_ns:
            at_ns, _, timer = heapq.heappop(self._timers)
            self.meter.timer_late(now_ns - at_ns)
            self.scheduler.timer(self.now_ns, timer)

    @property
    def _stuck(self) -> bool:
        """Requests wait, and nothing that is still to come would send them."""
        return self.scheduler.idle and self.scheduler.ended < len(self._table)

    def _next_ns(self) -> int:
        """The earliest timer, on the transport's clock."""
        if self._intake or self.finished:
            return self._transport.now_ns()
        return self._timers[0][0] + self._origin_ns if self._timers else NEVER_NS

    def _by_batch(self, report: Report) -> tuple[int, int, int]:
        """Reports of one instant count in the order of stage and batch, as the scheduler asks."""
        batch = self.running.get((report.stage, report.replica))
        return report.stage, -1 if batch is None else batch.batch, report.replica

    def _arrive(self, now_ns: int, submission: Submission) -> None:
        first = len(self._table)
        columns = zip(
            submission.arrival_ns,
            submission.deadline_ns,
            submission.items,
            submission.priority,
            repeat(None, len(submission.arrival_ns))
            if submission.keys is None
            else submission.keys,
            strict=True,
        )
        for arrival_ns, deadline_ns, items, priority, key in columns:
            self._table.append(arrival_ns, deadline_ns, items, priority, key)
        requests = range(first, len(self._table))
        self._payloads.admit(requests, submission.inputs)
        self.scheduler.arrived(now_ns, requests)

    def _apply(self, now_ns: int, report: Report) -> None:
        stage, replica = report.stage, report.replica
        if isinstance(report, Finished):
            del self.running[stage, replica]
            if not self.scheduler.answered(stage, replica):
                requests, answers = self.scheduler.answers(stage, replica)
                outputs = self._transport.outputs(stage, replica)
                self._payloads.scatter(stage, requests, outputs, answers)
            whole_ns = now_ns - self._dispatched_ns[stage, replica]
            self.meter.batch(stage, report.compute_ns, whole_ns)
            self.scheduler.batch_finished(
                now_ns, stage, replica, report.started_ns - self._origin_ns
            )
        elif isinstance(report, Raised):
            del self.running[stage, replica]
            name = self.scheduler.pipeline.stages[stage].name
            self.scheduler.batch_failed(
                now_ns, stage, replica, f"stage {name}: the model raised {report.reason}"
            )
        elif isinstance(report, Lost):
            self.running.pop((stage, replica), None)
            self.scheduler.replica_lost(now_ns, stage, replica, returns=report.returns)
        elif isinstance(report, Back):
            self.scheduler.replica_back(now_ns, stage, replica)
        elif isinstance(report, Gone):
            # The scheduler counts on its return: it comes back, and is lost for good at once.
            self.scheduler.replica_back(now_ns, stage, replica)
            self.scheduler.replica_lost(now_ns, stage, replica, returns=False)

    def _carry_out(self, commands: Sequence[object]) -> None:
        """Batches first: a replica waits for them, while an answer is only read."""
        for command in commands:
            if type(command) is StartBatch:
                self._start(command)
        for command in commands:
            if type(command) is SetTimer:
                if command.at_ns != NEVER_NS:
                    heapq.heappush(self._timers, (command.at_ns, next(self._order), command))
            elif isinstance(command, Complete):
                answers = self._payloads.answers(command.requests)
                self._payloads.forget(command.requests)
                self._listener.completed(self.now_ns, command.requests, answers)
            elif isinstance(command, Drop):
                self._payloads.forget(command.requests)
                self._listener.dropped(
                    self.now_ns, command.requests, command.outcome, command.reason
                )
            elif isinstance(command, StartReplica):
                self._transport.launch(command.stage, command.replica)
            elif isinstance(command, StopReplica):
                self._transport.retire(command.stage, command.replica)

    def _start(self, batch: StartBatch) -> None:
        stage, replica = key = batch.stage, batch.replica
        self.running[key] = batch
        self._dispatched_ns[key] = self.now_ns
        went = went_on(self._gone[stage], batch.computed) if self._gone[stage] else None
        self._payloads.gather(stage, batch.computed, self._transport.inputs(stage, replica), went)
        self._transport.start(stage, replica, len(batch.computed), batch.level)
