"""The scheduler: events in, commands out, no clock of its own.

Every driver, simulated or real, turns this one state machine. At each instant it applies all events
that are due (``arrived``, ``batch_finished``, ``timer``, ...) and then asks once for decisions
(:meth:`Scheduler.decide`), so that the order of simultaneous events does not matter beyond what is
defined here: arrivals enter queues before requests that are handed on, hand-overs are applied in the
order in which the driver reports them (by stage, then batch number), stages decide downstream first.

The form follows h11 and dask's worker state machine ("sans I/O").
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from policies.commands import (
    ESTIMATE_TIMER,
    EXPIRY_TIMER,
    TICK_TIMER,
    Command,
    Complete,
    Drop,
    SetTimer,
    StartBatch,
)
from policies.contract import NEVER_NS, NO_SIZE, View
from policies.estimates import Estimates
from policies.pipeline import Pipeline
from policies.queues import AT_ARRIVAL
from policies.requests import RequestTable
from policies.runlog import Outcome, RunLog
from policies.runlog_build import build_log
from policies.stage_state import DeviceState, Retry, StageState


class PolicyError(Exception):
    """A policy gave an answer that makes no sense; says which, what it saw and what it said."""

    def __init__(self, stage: StageState, view: View, now_ns: int, problem: str) -> None:
        super().__init__(
            f"stage {stage.spec.name}: policy {type(stage.policy).__name__} {problem}"
            f" (now_ns={now_ns}, policy={stage.policy}, view={view})"
        )


class Scheduler:
    """A pipeline at work. All methods take the time of the event, which must not run backwards."""

    def __init__(self, pipeline: Pipeline, requests: RequestTable) -> None:
        self.pipeline = pipeline
        self.requests = requests
        devices = {device.name: DeviceState(device.slots) for device in pipeline.devices}
        self.stages = [
            StageState(index, spec, requests, devices) for index, spec in enumerate(pipeline.stages)
        ]
        by_name = {stage.spec.name: stage for stage in self.stages}
        for stage in self.stages:
            for parent in stage.spec.parents:
                by_name[parent].children.append(stage)
            for device in stage.devices:
                device.stages.append(stage)
        self.roots = [stage for stage in self.stages if stage.is_root]
        self.sinks = sum(not stage.children for stage in self.stages)
        self.forked = (
            len(self.roots) > 1 or self.sinks > 1 or any(len(s.children) > 1 for s in self.stages)
        )
        """A request can be in two places at once."""
        self._guarded = pipeline.expire
        self.ended = 0
        """Requests that have an outcome."""
        self.drops: dict[int, tuple[int, Outcome, str]] = {}
        """Request to (when, outcome, reason), for those that were not completed."""
        self._sinks_done: dict[int, int] = {}
        self._dirty = 0
        """Bit k is set when stage k's policy is to be asked."""
        self._out: list[Command] = []
        self._deadlines: list[tuple[int, int]] = []
        """Heap of (deadline_ns, request) of those that may expire."""
        self._expiry_ns = NEVER_NS
        """When the expiry timer is set for."""
        reads = any(stage.reads_estimates for stage in self.stages)
        self._estimates = (
            Estimates(len(self.stages), pipeline.estimate_window_ns, pipeline.estimate_weight)
            if reads
            else None
        )
        self._due = False
        """A run-wide timer may have come due."""
        self._arm()

    # Events.

    def arrived(self, now_ns: int, requests: Sequence[int], *, at_arrival: bool = False) -> None:
        """Requests reach the pipeline now, or each did at its own ``arrival_ns`` (not later than now).

        A driver may bring several arrivals late and together only where nothing but a hold's size
        depends on them one by one; see :attr:`batches_arrivals`.
        """
        entered_ns = AT_ARRIVAL if at_arrival else now_ns
        if self.pipeline.expire:
            for request in requests:
                heapq.heappush(self._deadlines, (self.requests.deadline_ns[request], request))
            self._arm_expiry()
        for root in self.roots:
            self._enter(root, now_ns, entered_ns, requests)

    def batch_finished(
        self, now_ns: int, stage: int, replica: int, started_ns: int | None = None
    ) -> None:
        """The replica's batch is done; it began to run at ``started_ns`` (default: at dispatch)."""
        here = self.stages[stage]
        requests = self._release(here, now_ns, replica, started_ns).requests
        if here.observes:
            service_ns = now_ns - here.dispatched_ns[replica]
            here.policy.observe(here.view(), now_ns, here.state, len(requests), service_ns)
        if self.drops and self.forked:
            requests = [request for request in requests if request not in self.drops]
        if here.children:
            for child in here.children:
                if child.parents > 1:
                    self._join(child, now_ns, requests)
                elif requests:
                    self._enter(child, now_ns, now_ns, requests)
        else:
            self._finish(requests)

    def batch_failed(self, now_ns: int, stage: int, replica: int, reason: str) -> None:
        """The replica could not run its batch but lives: the batch's requests fail."""
        batch = self._release(self.stages[stage], now_ns, replica, None)
        self._drop(now_ns, batch.requests, Outcome.FAILED, reason)

    def replica_lost(self, now_ns: int, stage: int, replica: int, *, returns: bool) -> None:
        """The replica died. Its batch is retried once, on another replica or on the same one after
        it has come back (``returns``), and fails if that one dies too.
        """
        here = self.stages[stage]
        batch = here.running[replica]
        if batch is not None:
            self._release(here, now_ns, replica, None, lost=True)
        here.idle &= ~(1 << replica)
        here.up -= 1
        here.returning += returns
        here.down.append((replica, now_ns, -1))
        if batch is not None:
            if batch.attempt == 1:
                here.retries.append(Retry(batch, here.row[replica]))
            else:
                reason = f"stage {here.spec.name} lost the replica of this batch twice"
                self._drop(now_ns, batch.requests, Outcome.FAILED, reason)
        if not here.up and not here.returning:
            self._abandon(here, now_ns)

    def replica_back(self, now_ns: int, stage: int, replica: int) -> None:
        """A replica that was lost can run batches again."""
        here = self.stages[stage]
        for index, (other, from_ns, to_ns) in enumerate(here.down):
            if other == replica and to_ns < 0:
                here.down[index] = (replica, from_ns, now_ns)
        if not here.ready():
            here.idle_since_ns = now_ns
        here.idle |= 1 << replica
        here.up += 1
        here.returning -= 1
        self._dirty |= 1 << stage

    def timer(self, now_ns: int, timer: SetTimer) -> None:
        """A timer came due, or the arrivals it waited for did."""
        if timer.stage < 0:
            self._due = True
            return
        here = self.stages[timer.stage]
        if here.wake_ns <= now_ns and here.waiting:
            self._dirty |= 1 << timer.stage

    # Decisions.

    def decide(self, now_ns: int) -> list[Command]:
        """What to do now that all events of this instant are in. Empties the list of commands."""
        if self._due:
            self._due = False
            self._run_due(now_ns)
        while self._dirty:
            index = self._dirty.bit_length() - 1
            self._dirty ^= 1 << index
            self._decide_stage(self.stages[index], now_ns)
        out = self._out
        if out:
            self._out = []
        return out

    def _decide_stage(self, here: StageState, now_ns: int) -> None:
        if here.retries:
            self._start_retries(here, now_ns)
        if not here.waiting:
            self._await_first(here)
            return
        while here.idle and (here.always_ready or here.ready()):
            view = here.view()
            count, until_ns, size = here.ask(view, now_ns, here.state)
            if count:
                if not 0 < count <= view.sendable:
                    raise PolicyError(here, view, now_ns, f"dispatched {count} requests")
                self._start(here, now_ns, count)
                if not here.waiting:
                    self._await_first(here)
                    return
            else:
                if until_ns <= now_ns:
                    raise PolicyError(here, view, now_ns, f"held until {until_ns}, not after now")
                if size <= here.waiting:
                    raise PolicyError(here, view, now_ns, f"held for {size}, which wait already")
                if until_ns != here.wake_ns or size != here.wake_size:
                    here.wake_ns = until_ns
                    here.wake_size = size
                    self._out.append(SetTimer(until_ns, here.index, size - here.waiting))
                return
        here.wake_size = NO_SIZE
        here.wake_ns = NEVER_NS

    def _await_first(self, here: StageState) -> None:
        """Nothing waits: be asked at the next entry, if a batch could start then."""
        here.wake_ns = NEVER_NS
        if not here.ready():
            here.wake_size = NO_SIZE
            return
        here.wake_size = 1
        if here.is_root:
            self._out.append(SetTimer(NEVER_NS, here.index, 1))

    def _start(self, here: StageState, now_ns: int, count: int) -> None:
        """Send the first ``count`` requests of the queue."""
        requests, runs = here.queue.take(count)
        here.waiting -= count
        if self.requests.unit_items:
            items = count
        else:
            items = sum(map(self.requests.items.__getitem__, requests))
            here.waiting_items -= items
        batch = here.batches
        here.batches = batch + 1
        here.last_dispatch_ns = now_ns
        replica = here.pick()
        row = here.journal.sent(batch, replica, now_ns, requests, runs, items)
        command = StartBatch(here.index, batch, replica, requests, items, 1)
        self._occupy(here, now_ns, command, row)

    def _start_retries(self, here: StageState, now_ns: int) -> None:
        """Batches that lost their replica go before new ones; no policy is asked."""
        while here.retries and here.ready():
            lost, lost_row = here.retries.popleft()
            replica = here.pick()
            row = here.journal.resent(lost_row, replica, now_ns)
            command = lost._replace(replica=replica, attempt=lost.attempt + 1)
            self._occupy(here, now_ns, command, row)

    def _occupy(self, here: StageState, now_ns: int, command: StartBatch, row: int) -> None:
        replica = command.replica
        here.running[replica] = command
        here.row[replica] = row
        here.dispatched_ns[replica] = now_ns
        here.idle ^= 1 << replica
        if not here.always_ready:
            here.device_of[replica].free -= 1
        self._out.append(command)

    def _release(
        self,
        here: StageState,
        now_ns: int,
        replica: int,
        started_ns: int | None,
        *,
        lost: bool = False,
    ) -> StartBatch:
        """The replica runs nothing any more; its slot is free, and its stage may be asked."""
        batch = here.running[replica]
        if batch is None:
            raise ValueError(f"replica {replica} of stage {here.spec.name} runs no batch")
        here.running[replica] = None
        dispatched_ns = here.dispatched_ns[replica]
        started_ns = dispatched_ns if started_ns is None else started_ns
        here.journal.finished(here.row[replica], started_ns, now_ns, lost)
        if self._estimates is not None:
            self._estimates.ran(here.index, dispatched_ns, now_ns)
        if not here.always_ready:
            self._free_slot(here, now_ns, replica)
        elif here.idle:
            here.idle |= 1 << replica
        else:
            here.idle = 1 << replica
            here.idle_since_ns = now_ns
            if here.waiting or here.is_root:
                self._dirty |= 1 << here.index
            else:
                here.wake_size = 1
        if here.observes or here.retries:
            self._dirty |= 1 << here.index
        return batch

    def _free_slot(self, here: StageState, now_ns: int, replica: int) -> None:
        device = here.device_of[replica]
        unready = [stage for stage in device.stages if not stage.ready()]
        here.idle |= 1 << replica
        device.free += 1
        for stage in unready:
            if stage.ready():
                stage.idle_since_ns = now_ns
                self._dirty |= 1 << stage.index

    # Queues.

    def _join(self, child: StageState, now_ns: int, requests: Sequence[int]) -> None:
        """Requests come from one parent of several; they enter when the last of those is done."""
        missing = child.missing
        complete = []
        for request in requests:
            left = missing.get(request, child.parents) - 1
            if left:
                missing[request] = left
            else:
                del missing[request]
                complete.append(request)
        if complete:
            self._enter(child, now_ns, now_ns, complete)

    def _enter(
        self, here: StageState, now_ns: int, entered_ns: int, requests: Sequence[int]
    ) -> None:
        """Requests join a queue, as far as they may."""
        if self.drops or self._guarded or here.queue_bound != NO_SIZE or not here.up:
            requests = self._admit(here, now_ns, requests)
            if not requests:
                return
        count = len(requests)
        here.queue.push(entered_ns, requests)
        here.waiting += count
        if not self.requests.unit_items:
            here.waiting_items += sum(map(self.requests.items.__getitem__, requests))
        if self._estimates is not None:
            self._estimates.entered(here.index, count)
        if here.waiting >= here.wake_size or (not here.plain and here.full() and here.ready()):
            self._dirty |= 1 << here.index

    def _admit(self, here: StageState, now_ns: int, requests: Sequence[int]) -> Sequence[int]:
        """Those of the requests that may enter; the others are dropped."""
        if self.drops:
            requests = [request for request in requests if request not in self.drops]
        if self.pipeline.expire:
            deadline_ns = self.requests.deadline_ns
            late = [request for request in requests if deadline_ns[request] <= now_ns]
            if late:
                self._drop(now_ns, late, Outcome.EXPIRED, f"deadline passed at {here.spec.name}")
                requests = [request for request in requests if deadline_ns[request] > now_ns]
        if not here.up and not here.returning:
            self._drop(now_ns, requests, Outcome.FAILED, _no_replica(here))
            return ()
        room = max(here.queue_bound - here.waiting, 0)
        if len(requests) > room:
            reason = f"queue of {here.spec.name} is full ({here.queue_bound})"
            self._drop(now_ns, requests[room:], Outcome.SHED, reason)
            requests = requests[:room]
        return requests

    def _finish(self, requests: Sequence[int]) -> None:
        """Requests left a stage that nothing follows; with several such, all must be left."""
        if self.sinks > 1:
            done = self._sinks_done
            complete = []
            for request in requests:
                done[request] = done.get(request, 0) + 1
                if done[request] == self.sinks:
                    del done[request]
                    complete.append(request)
            requests = complete
        if requests:
            self.ended += len(requests)
            self._out.append(Complete(requests))

    def _drop(self, now_ns: int, requests: Iterable[int], outcome: Outcome, reason: str) -> None:
        """These requests end here, and everywhere else that they wait."""
        dropped = [request for request in requests if request not in self.drops]
        if not dropped:
            return
        for request in dropped:
            self.drops[request] = (now_ns, outcome, reason)
            if self.forked:
                self._withdraw(request)
        self.ended += len(dropped)
        self._out.append(Drop(dropped, outcome, reason))

    def _withdraw(self, request: int) -> None:
        """Take a request out of every queue and join."""
        self._sinks_done.pop(request, None)
        for stage in self.stages:
            stage.missing.pop(request, None)
            self._leave_queue(stage, request)

    def _leave_queue(self, stage: StageState, request: int) -> bool:
        entered_ns = stage.queue.discard(request) if stage.waiting else None
        if entered_ns is None:
            return False
        stage.waiting -= 1
        stage.waiting_items -= 0 if self.requests.unit_items else self.requests.items[request]
        stage.journal.left(request, entered_ns)
        if stage.wake_size != NO_SIZE:
            # Its hold counted on this one: ask again, and set the timer anew.
            stage.wake_size = 1
            self._dirty |= 1 << stage.index
        return True

    def _empty_queue(self, stage: StageState) -> list[int]:
        """Take everything out of a queue, unsent."""
        entries = stage.queue.clear()
        for request, entered_ns in entries:
            stage.journal.left(request, entered_ns)
        stage.waiting = 0
        stage.waiting_items = 0
        return [request for request, _ in entries]

    def _abandon(self, here: StageState, now_ns: int) -> None:
        """No replica is left and none will come: nothing here can ever be served."""
        lost = [request for retry in here.retries for request in retry.command.requests]
        here.retries.clear()
        lost += self._empty_queue(here)
        self._drop(now_ns, lost, Outcome.FAILED, _no_replica(here))

    # Run-wide timers: estimates, ticks, expiry.

    def _arm(self) -> None:
        """Ask for the first timers."""
        for root in self.roots:
            self._out.append(SetTimer(NEVER_NS, root.index, 1))
        if self._estimates is not None:
            self._out.append(SetTimer(self._estimates.ends_ns, ESTIMATE_TIMER, NO_SIZE))
        self._arm_tick()

    def _arm_tick(self) -> None:
        next_ns = min(stage.next_tick_ns for stage in self.stages)
        if next_ns != NEVER_NS:
            self._out.append(SetTimer(next_ns, TICK_TIMER, NO_SIZE))

    def _arm_expiry(self) -> None:
        """Ask for a timer at the earliest deadline, unless one is set for then already."""
        if self._deadlines and self._deadlines[0][0] < self._expiry_ns:
            self._expiry_ns = self._deadlines[0][0]
            self._out.append(SetTimer(self._expiry_ns, EXPIRY_TIMER, NO_SIZE))

    def _run_due(self, now_ns: int) -> None:
        """Close estimation windows, then tick policies, then let requests expire, as far as due."""
        estimates = self._estimates
        if estimates is not None and estimates.ends_ns <= now_ns:
            while estimates.ends_ns <= now_ns:
                self._close_window(estimates)
            self._out.append(SetTimer(estimates.ends_ns, ESTIMATE_TIMER, NO_SIZE))
        if any(stage.next_tick_ns <= now_ns for stage in self.stages):
            for stage in self.stages:
                while stage.next_tick_ns <= now_ns:
                    stage.policy.on_tick(stage.view(), now_ns, stage.state)
                    stage.next_tick_ns += stage.policy.tick_ns
                    self._ask_again(stage)
            self._arm_tick()
        if self._deadlines and self._deadlines[0][0] <= now_ns:
            self._expire(now_ns)

    def _close_window(self, estimates: Estimates) -> None:
        for stage in self.stages:
            for batch, from_ns in zip(stage.running, stage.dispatched_ns, strict=True):
                if batch is not None:
                    estimates.ran(stage.index, from_ns, estimates.ends_ns)
            if stage.reads_estimates:
                self._ask_again(stage)
        estimates.close_window([stage.up for stage in self.stages])
        for stage in self.stages:
            stage.rate_hz = estimates.rate_hz[stage.index]
            stage.load = estimates.load[stage.index]
            stage.pipeline_load = max(estimates.load)

    def _ask_again(self, stage: StageState) -> None:
        if stage.waiting and stage.wake_size != NO_SIZE:
            self._dirty |= 1 << stage.index

    def _expire(self, now_ns: int) -> None:
        """Drop the requests that are in a queue at their deadline; one that runs is left to finish,
        and is dropped if it should enter another queue.
        """
        late = []
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            request = heapq.heappop(self._deadlines)[1]
            if request not in self.drops:
                queued = [stage for stage in self.stages if self._leave_queue(stage, request)]
                if queued:
                    late.append(request)
        self._drop(now_ns, late, Outcome.EXPIRED, "deadline passed in a queue")
        self._expiry_ns = NEVER_NS
        self._arm_expiry()

    # What drivers ask.

    @property
    def batches_arrivals(self) -> bool:
        """May arrivals be brought late and together? Not where each of them is an event of its own."""
        return not self.pipeline.expire and all(
            root.queue_bound == NO_SIZE and root.spec.max_items is None for root in self.roots
        )

    @property
    def wakes_roots(self) -> frozenset[int]:
        """Stages whose finished batches may lead to a root being asked: the roots, and those that
        share a device with one.
        """
        mates = (stage for root in self.roots for dev in root.devices for stage in dev.stages)
        return frozenset(stage.index for stage in (*self.roots, *mates))

    @property
    def idle(self) -> bool:
        """Nothing runs and no timer would change that: without arrivals, what waits waits for ever."""
        return (
            not self._out
            and self._expiry_ns == NEVER_NS
            and all(
                stage.wake_ns == NEVER_NS and not stage.returning and not any(stage.running)
                for stage in self.stages
            )
        )

    def close(self, now_ns: int, reason: str) -> list[Command]:
        """Fail whatever still waits, for a run that ends before its requests do."""
        for stage in self.stages:
            waiting = [request for retry in stage.retries for request in retry.command.requests]
            stage.retries.clear()
            waiting += self._empty_queue(stage)
            self._drop(now_ns, waiting, Outcome.FAILED, f"{reason}, waiting at {stage.spec.name}")
        self._dirty = 0
        out, self._out = self._out, []
        return [command for command in out if isinstance(command, Drop)]

    def log(self, end_ns: int, info: dict[str, object] | None = None) -> RunLog:
        """The run so far."""
        return build_log(self.pipeline, self.requests, self.stages, self.drops, end_ns, info or {})


def _no_replica(here: StageState) -> str:
    return f"stage {here.spec.name} has no replica left"
