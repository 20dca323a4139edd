"""The reference driver: the scheduler on SimPy's virtual clock, by its public API only.

Events are timeouts with callbacks, one or two a batch. Whatever is due at an instant is collected
first; the scheduler then decides once (``Environment.peek`` tells whether more is due at this time).
Arrivals that are known ahead are brought when a batch can form of them, not one by one, wherever the
scheduler says that this makes no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import simpy

from policies.commands import Command, Complete, Drop, SetTimer, StartBatch, StartReplica
from policies.contract import NEVER_NS
from policies.scheduler import Scheduler
from sim.service_times import Repeated, ServiceTimes
from sim.sources import Source


class SimpyDriver:
    """Runs a scheduler in a SimPy environment whose clock counts nanoseconds from 0.

    The environment may hold other processes beside it (controllers, failures): they act by
    :meth:`lose` and :meth:`restore`.
    """

    def __init__(
        self,
        env: simpy.Environment,
        scheduler: Scheduler,
        services: Sequence[ServiceTimes],
        source: Source,
    ) -> None:
        self.env = env
        self.scheduler = scheduler
        self.done = env.event()
        """Triggers when every request has ended."""
        self._times = [service.time_ns for service in services]
        self._times_again = [_again(service).time_ns for service in services]
        localities = [stage.locality for stage in scheduler.pipeline.stages]
        self._costs = [
            (1.0, *(level.cost for level in stage.levels)) for stage in scheduler.pipeline.stages
        ]
        """By stage, the factor of the service time at each level."""
        self._miss_ns = [0 if each is None else each.miss_ns for each in localities]
        self._paced = any(service.paced for service in services)
        self._ended_ns: dict[tuple[int, int], int] = {}
        """(stage, replica) to when its last batch was done; kept only where that matters."""
        self._source = source
        self._finished: list[StartBatch] = []
        self._timers: list[SetTimer] = []
        self._lost: set[int] = set()
        """Identities of running batches whose replica was lost: they will not finish."""
        self._alarm_ns = NEVER_NS
        self._flush_ns = -1
        """The instant for which a pass after all its other events is scheduled."""
        self._wakes_roots = scheduler.wakes_roots
        self._bring = False
        """Something is due that may make use of the arrivals up to now."""
        self._perform(0, scheduler.decide(0))

    def run(self) -> None:
        """Run the environment until every request has ended."""
        if self._source.total == 0:
            return
        try:
            self.env.run(until=self.done)
        except RuntimeError:
            # SimPy ran out of events. An error of another process beside the pipeline is not ours.
            if self.env.peek() != float("inf"):
                raise
            self.scheduler.close(int(self.env.now), "no replica came back for it")

    def lose(self, stage: int, replica: int, *, returns: bool) -> None:
        """The replica dies now; what it runs is lost."""
        batch = self.scheduler.stages[stage].running[replica]
        if batch is not None:
            self._lost.add(id(batch))
        self._bring = True
        self.scheduler.replica_lost(int(self.env.now), stage, replica, returns=returns)
        self._settle_at_end_of_instant()

    def restore(self, stage: int, replica: int) -> None:
        """The replica can run batches again from now on."""
        self._bring = True
        self.scheduler.replica_back(int(self.env.now), stage, replica)
        self._settle_at_end_of_instant()

    def _on_finish(self, event: Any) -> None:
        batch: StartBatch = event.value
        self._finished.append(batch)
        if batch.stage in self._wakes_roots:
            self._bring = True
        self._settle()

    def _on_timer(self, event: Any) -> None:
        timer: SetTimer = event.value
        self._timers.append(timer)
        if timer.stage < 0 or timer.stage in self._wakes_roots:
            self._bring = True
        self._settle()

    def _on_alarm(self, event: Any) -> None:  # noqa: ARG002
        self._alarm_ns = NEVER_NS
        self._bring = True
        self._settle()

    def _on_flush(self, event: Any) -> None:  # noqa: ARG002
        self._settle(last=True)

    def _settle_at_end_of_instant(self) -> None:
        # Events of one time run in the order in which they were scheduled, so this comes last.
        if self._flush_ns != self.env.now:
            self._flush_ns = int(self.env.now)
            self.env.timeout(0).callbacks.append(self._on_flush)

    def _settle(self, last: bool = False) -> None:
        """If nothing else is due at this instant: apply all that is due, arrivals first, then decide
        once. Else do so after it.
        """
        env = self.env
        now_ns: Any = env.now
        if not last and env.peek() <= now_ns:
            self._settle_at_end_of_instant()
            return
        scheduler = self.scheduler
        if self._bring:
            self._bring = False
            if self._source.next_ns <= now_ns:
                self._source.bring(now_ns)
        finished = self._finished
        if finished:
            if len(finished) > 1:
                finished.sort()
            for batch in finished:
                if self._paced:
                    self._ended_ns[batch.stage, batch.replica] = now_ns
                if not self._lost or id(batch) not in self._lost:
                    scheduler.batch_finished(now_ns, batch.stage, batch.replica)
                else:
                    self._lost.remove(id(batch))
            finished.clear()
        if self._timers:
            for timer in self._timers:
                scheduler.timer(now_ns, timer)
            self._timers.clear()
        self._perform(now_ns, scheduler.decide(now_ns))

    def _perform(self, now_ns: int, commands: Sequence[Command]) -> None:
        source = self._source
        for command in commands:
            if isinstance(command, StartBatch):
                stage, batch, replica, requests, items, attempt, fold, missed, level = command
                count = len(requests if fold is None else fold.computed)
                rested_ns = self._rested_ns(stage, replica, now_ns) if self._paced else -1
                times = self._times if attempt == 1 else self._times_again
                time_ns = times[stage](batch, count, items, rested_ns)
                if level:
                    time_ns = round(time_ns * self._costs[stage][level])
                if missed:
                    time_ns += missed * self._miss_ns[stage]
                timeout = self.env.timeout(time_ns, command)
                timeout.callbacks.append(self._on_finish)
            elif isinstance(command, SetTimer):
                at_ns = source.wake_ns(command)
                if at_ns != NEVER_NS:
                    self.env.timeout(at_ns - now_ns, command).callbacks.append(self._on_timer)
            elif isinstance(command, Complete | Drop):
                source.ended(now_ns, command.requests)
            elif isinstance(command, StartReplica):
                self._start(command)
        if source.alarm_ns < self._alarm_ns:
            self._alarm_ns = source.alarm_ns
            self.env.timeout(self._alarm_ns - now_ns).callbacks.append(self._on_alarm)
        if source.next_ns == NEVER_NS:
            self._stop_if_over(now_ns)

    def _start(self, command: StartReplica) -> None:
        """The replica can run batches once it has started."""
        rule = self.scheduler.pipeline.stages[command.stage].autoscale
        started = self.env.timeout(rule.cold_start_ns if rule else 0)
        started.callbacks.append(lambda _: self.restore(command.stage, command.replica))

    def _rested_ns(self, stage: int, replica: int, now_ns: int) -> int:
        ended_ns = self._ended_ns.get((stage, replica))
        return -1 if ended_ns is None else now_ns - ended_ns

    def _stop_if_over(self, now_ns: int) -> None:
        scheduler = self.scheduler
        over = scheduler.ended >= self._source.total
        if not over and scheduler.idle:
            # Clients of a closed loop that wait for an answer for ever send no more either.
            scheduler.close(
                now_ns, "held for ever: its policy set no time, and no request is to come"
            )
            over = True
        if over and not self.done.triggered:
            self.done.succeed()


def _again(service: ServiceTimes) -> ServiceTimes:
    """The times of batches that are sent a second time."""
    return (service.again if isinstance(service, Repeated) else None) or service
