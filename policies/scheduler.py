"""The scheduler: events in, commands out, no clock of its own.

Every driver, simulated or real, turns this one state machine. At each instant it applies all events
that are due (``arrived``, ``batch_finished``, ``timer``, ...) and then asks once for decisions
(:meth:`Scheduler.decide`), so that the order of simultaneous events does not matter beyond what is
defined here: arrivals enter queues before requests that are handed on, hand-overs are applied in the
order in which the driver reports them (by stage, then batch number), stages decide downstream first.

A policy is asked when a batch could start and something waits: at the first entry, when its hold has
its size or its time, when a replica or slot comes free after there was none, and when what it has
observed may have changed its mind. A hold is not asked about otherwise.

The form follows h11 and dask's worker state machine ("sans I/O").
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from policies import alarms, flow, service_level
from policies.board import Board
from policies.caches import Caches
from policies.commands import HEDGE_TIMER, Command, Complete, Drop, SetTimer, StartBatch
from policies.contract import NEVER_NS, NO_SIZE, Answer, Policy, View
from policies.hedging import Hope
from policies.pipeline import Pipeline
from policies.queues import AT_ARRIVAL, Taken
from policies.requests import RequestTable
from policies.runlog import RunLog
from policies.runlog_build import build_log
from policies.stage_state import UNABLE, Retry, StageState


class PolicyError(Exception):
    """A policy gave an answer that makes no sense; says which, what it saw and what it said."""

    def __init__(self, stage: str, policy: Policy, view: View, now_ns: int, answer: Answer) -> None:
        self.parts = (stage, policy, view, now_ns, answer)
        super().__init__(
            f"stage {stage}: the rule of policy {type(policy).__name__}"
            f" {_problem(policy, view, now_ns, answer)}"
            f" (now_ns={now_ns}, policy={policy}, view={view}, answer={answer})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return PolicyError, self.parts


def _problem(policy: Policy, view: View, now_ns: int, answer: Answer) -> str:
    count, until_ns, size = answer
    if count < 0 and not policy.sheds:
        return f"shed {-count} requests, though its policy does not say that it sheds"
    if count < 0:
        return f"shed {-count} requests, where {view.waiting} wait"
    if count:
        return f"dispatched {count} requests, where 1 to {view.sendable} can be sent"
    if until_ns <= now_ns:
        return f"held until {until_ns}, which is not after now"
    return f"held for {size} requests, where {view.waiting} wait already"


class Scheduler(Board):
    """A pipeline at work. All methods take the time of the event, which must not run backwards."""

    def __init__(self, pipeline: Pipeline, requests: RequestTable) -> None:
        super().__init__(pipeline, requests)
        self._due = False
        """A run-wide timer may have come due."""
        for root in self.roots:
            self.out.append(SetTimer(NEVER_NS, root.index, 1))
        alarms.arm(self)

    # Events.

    def arrived(self, now_ns: int, requests: Sequence[int], *, at_arrival: bool = False) -> None:
        """Requests reach the pipeline now, or each did at its own ``arrival_ns`` (not later than now).

        A driver may bring several arrivals late and together only where nothing but a hold's size
        depends on them one by one; see :attr:`batches_arrivals`.
        """
        if self.expire:
            for request in requests:
                heapq.heappush(self.deadlines, (self.requests.deadline_ns[request], request))
            alarms.arm_expiry(self)
        if self.newest is not None:
            flow.supersede(self, now_ns, self.newest.came(requests))
        if self.service_levels is not None:
            service_level.choose(self, self.service_levels, now_ns, requests)
        entered_ns = AT_ARRIVAL if at_arrival else now_ns
        for root in self.roots:
            flow.enter(self, root, now_ns, entered_ns, requests)

    def batch_finished(
        self, now_ns: int, stage: int, replica: int, started_ns: int | None = None
    ) -> None:
        """The replica's batch is done; it began to run at ``started_ns`` (default: at dispatch)."""
        here = self.stages[stage]
        batch = self._release(here, now_ns, replica, started_ns)
        service_ns = now_ns - here.dispatched_ns[replica]
        if here.hedging is not None and not here.hedging.done(batch, service_ns):
            return
        if here.observes:
            here.policy.observe(here.view(), now_ns, here.state, len(batch.requests), service_ns)
            self.ask_again(here)
        requests = batch.requests if here.flight is None else flow.answer(here, now_ns, batch)
        if self.drops and self.forked:
            requests = [request for request in requests if request not in self.drops]
        if here.children:
            for child in here.children:
                if child.parents > 1:
                    flow.join(self, here, child, now_ns, requests)
                elif requests:
                    flow.enter(self, child, now_ns, now_ns, requests)
        else:
            flow.finish(self, requests)

    def batch_failed(self, now_ns: int, stage: int, replica: int, reason: str) -> None:
        """The replica could not run its batch but lives: the batch's requests fail, unless another copy
        of it runs.
        """
        here = self.stages[stage]
        batch = self._release(here, now_ns, replica, None)
        if here.hedging is not None and here.hedging.dropped_out(replica) is Hope.OTHER:
            return
        flow.give_up(self, here, now_ns, batch, reason)

    def replica_lost(self, now_ns: int, stage: int, replica: int, *, returns: bool) -> None:
        """The replica died. Its batch is retried once, on another replica or on this one after it
        has come back (``returns``), and fails if that is lost too. One of which another copy runs, or
        has been answered, needs no retry.
        """
        here = self.stages[stage]
        batch = here.running[replica]
        if here.scaling is not None:
            here.scaling.leaving.discard(replica)
        if batch is not None:
            self._release(here, now_ns, replica, None)
            here.journal.lost(here.row[replica])
        here.idle &= ~(1 << replica)
        here.up -= 1
        here.returning += returns
        here.down.append((replica, now_ns, -1))
        if batch is not None:
            hope = here.hedging.dropped_out(replica) if here.hedging is not None else Hope.RETRY
            if hope is Hope.RETRY and batch.attempt == 1:
                here.retries.append(Retry(batch, here.row[replica]))
                self.dirty |= 1 << stage
            elif hope is not Hope.OTHER:
                reason = f"stage {here.spec.name} lost the replica of this batch twice"
                flow.give_up(self, here, now_ns, batch, reason)
        if here.caches is not None:
            here.caches.lose(replica)
        if not here.up and not here.returning:
            flow.abandon(self, here, now_ns, flow.no_replica(here))

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
        self.dirty |= 1 << stage

    def timer(self, now_ns: int, timer: SetTimer) -> None:
        """A timer came due, or the arrivals it waited for did."""
        if timer.stage < 0:
            self._due = True
            return
        here = self.stages[timer.stage]
        if here.wake_ns <= now_ns and here.waiting:
            self.dirty |= 1 << timer.stage

    def _release(
        self, here: StageState, now_ns: int, replica: int, started_ns: int | None
    ) -> StartBatch:
        """The replica runs nothing any more, its slot is free; those who waited for it are asked."""
        batch = here.running[replica]
        if batch is None:
            raise ValueError(f"replica {replica} of stage {here.spec.name} runs no batch")
        here.running[replica] = None
        dispatched_ns = here.dispatched_ns[replica]
        started_ns = dispatched_ns if started_ns is None else started_ns
        here.journal.finished(here.row[replica], started_ns, now_ns)
        if self.estimates is not None:
            self.estimates.ran(here.index, dispatched_ns, now_ns)
        if here.retries:
            self.dirty |= 1 << here.index
        if not here.always_ready:
            self._free_slot(here, now_ns, replica)
        elif here.idle:
            here.idle |= 1 << replica
            if here.caches is not None and here.caches.waits:
                self.dirty |= 1 << here.index  # its head may have waited for this very replica
        else:
            here.idle = 1 << replica
            here.idle_since_ns = now_ns
            if here.waiting or here.is_root:
                self.dirty |= 1 << here.index
            else:
                here.wake_size = 1
        if here.scaling is not None:
            here.scaling.released(self, here, now_ns, replica)
        return batch

    def _free_slot(self, here: StageState, now_ns: int, replica: int) -> None:
        device = here.device_of[replica]
        unready = [stage for stage in device.stages if not stage.ready()]
        here.idle |= 1 << replica
        device.free += 1
        for stage in unready:
            if stage.ready():
                stage.idle_since_ns = now_ns
                self.dirty |= 1 << stage.index
        for stage in device.stages:
            if stage.caches is not None and stage.caches.waits:
                self.dirty |= 1 << stage.index

    # Decisions.

    def decide(self, now_ns: int) -> list[Command]:
        """What to do now that all events of this instant are in. Empties the list of commands."""
        if self._due:
            self._due = False
            alarms.run_due(self, now_ns)
        while self.dirty:
            here = self.stages[self.dirty.bit_length() - 1]
            if here.rivals:
                here = self._most_urgent(here, now_ns)
            self.dirty ^= 1 << here.index
            self._decide_stage(here, now_ns)
        for here in self.hedged:
            self._send_copies(here, now_ns)
        out = self.out
        if out:
            self.out = []
        return out

    def _most_urgent(self, here: StageState, now_ns: int) -> StageState:
        """Of the stages that are to be asked and contend with this one for a device, the one whose policy
        is in the greatest hurry; of several the one downstream.
        """
        first, least = here, NEVER_NS
        for stage in here.rivals:
            if self.dirty >> stage.index & 1 and stage.waiting and stage.ready():
                urgency = stage.urgency(now_ns)
                if urgency < least or (urgency == least and stage.index > first.index):
                    first, least = stage, urgency
        return first

    def _decide_stage(self, here: StageState, now_ns: int) -> None:
        if here.retries:
            self._start_retries(here, now_ns)
        while here.idle and (here.always_ready or here.ready()):
            if here.limited is not None:
                flow.lapse(self, here, now_ns)
            if not here.waiting:
                self._await_first(here)
                return
            view = here.view()
            count, until_ns, size = here.ask(view, now_ns, here.state)
            if not count:
                self._hold(here, view, now_ns, until_ns, size)
                return
            if 0 < count <= view.sendable:
                if here.as_chosen is not None:
                    count = here.as_chosen.alike(here.queue, count)
                if here.caches is None:
                    self._start(here, view, now_ns, here.queue.take(count), here.pick())
                elif not self._start_near(here, here.caches, view, now_ns, count):
                    return
            elif count < 0 and here.policy.sheds and -count <= view.waiting:
                flow.shed(self, here, now_ns, -count)
            else:
                answer = (count, until_ns, size)
                raise PolicyError(here.spec.name, here.policy, view, now_ns, answer)
            if here.rivals and here.ready():
                self.dirty |= 1 << here.index  # another may be in a greater hurry now
                return
        here.wake_size = UNABLE
        here.wake_ns = NEVER_NS

    def _await_first(self, here: StageState) -> None:
        """A batch could start but nothing waits: the policy is asked at the next entry."""
        here.wake_size = 1
        here.wake_ns = NEVER_NS
        if here.is_root:
            self.out.append(SetTimer(NEVER_NS, here.index, 1))

    def _hold(self, here: StageState, view: View, now_ns: int, until_ns: int, size: int) -> None:
        if until_ns <= now_ns or size <= here.waiting:
            raise PolicyError(here.spec.name, here.policy, view, now_ns, (0, until_ns, size))
        if here.limited is not None:
            until_ns = min(until_ns, here.lapses_ns())
        if until_ns != here.wake_ns or size != here.wake_size:
            here.wake_ns = until_ns
            here.wake_size = size
            self.out.append(SetTimer(until_ns, here.index, size - here.waiting))

    def _start_near(
        self, here: StageState, caches: Caches, view: View, now_ns: int, count: int
    ) -> bool:
        """Send up to ``count`` requests to a replica that holds their keys; False where all wait for
        replicas that are busy, until the head has waited for long enough.
        """
        choice = caches.choose(now_ns, here.queue, count, here.startable())
        if choice is None:
            head = next(iter(here.queue))
            self._hold(here, view, now_ns, caches.until_ns(head), here.waiting + 1)
            return False
        fit = here.fit(choice.requests, len(choice.requests))
        if here.as_chosen is not None:
            fit = here.as_chosen.alike(choice.requests, fit)
        taken = here.queue.take_these(choice.requests[:fit])
        self._start(here, view, now_ns, taken, choice.replica)
        return True

    def _start(self, here: StageState, view: View, now_ns: int, taken: Taken, replica: int) -> None:
        """Send requests that have left the queue, of which ``view`` was taken before; or let them go on
        without the stage, where its degradation says so.
        """
        requests, runs = taken
        items = count = len(requests)
        here.waiting -= count
        if not self.requests.unit_items:
            items = self._items_of(requests)
            here.waiting_items -= items
        here.last_dispatch_ns = now_ns
        here.wake_size = UNABLE  # whatever hold there was is over: the next one sets its own timer
        level = 0
        if here.degrading is not None:
            level = here.degrading.level(view, now_ns, requests)
            if level and level == here.degrading.skips_at:
                requests, runs = flow.skip(self, here, now_ns, taken)
                if not requests:
                    return
                items = self._items_of(requests)
                level -= 1
        batch = here.batches
        here.batches = batch + 1
        row = here.journal.sent(replica, now_ns, requests, runs)
        command = StartBatch(here.index, batch, replica, requests, items, 1)
        if level:
            command = command._replace(level=level)
        if here.spec.coalesce is not None:
            command = here.folded(command)
        self._occupy(here, now_ns, command, row)
        if here.flight is not None:
            here.flight.sent(batch, command.computed)
            flow.ride(self, here)
        if here.hedging is not None:
            here.hedging.sent(now_ns, command)

    def _items_of(self, requests: Sequence[int]) -> int:
        if self.requests.unit_items:
            return len(requests)
        return sum(map(self.requests.items.__getitem__, requests))

    def _start_retries(self, here: StageState, now_ns: int) -> None:
        """Batches that lost their replica go before new ones; no policy is asked."""
        while here.retries and here.ready():
            lost, lost_row = here.retries.popleft()
            replica = here.pick()
            row = here.journal.resent(lost_row, replica, now_ns)
            command = lost._replace(replica=replica, attempt=lost.attempt + 1)
            self._occupy(here, now_ns, command, row)

    def _send_copies(self, here: StageState, now_ns: int) -> None:
        """Batches that run for too long are sent again to replicas that nothing else wants now."""
        hedging = here.hedging
        if hedging is None:
            return
        while here.idle and here.ready() and (late := hedging.late(now_ns, here.batches)):
            replica = here.pick()
            row = here.journal.copied(here.row[late.replica], replica, now_ns)
            self._occupy(here, now_ns, late._replace(replica=replica, attempt=2), row)
            hedging.copied(late.replica, replica)
        if (alarm_ns := hedging.new_alarm_ns(now_ns)) != NEVER_NS:
            self.out.append(SetTimer(alarm_ns, HEDGE_TIMER, NO_SIZE))

    def _occupy(self, here: StageState, now_ns: int, command: StartBatch, row: int) -> None:
        replica = command.replica
        if here.caches is not None:
            command = command._replace(missed=here.caches.serve(replica, command.requests))
        if here.degrading is not None:
            here.degrading.sent.append(command.level)
        here.running[replica] = command
        here.row[replica] = row
        here.dispatched_ns[replica] = now_ns
        here.idle ^= 1 << replica
        if not here.always_ready:
            here.device_of[replica].free -= 1
        self.out.append(command)

    # What drivers ask.

    def answered(self, stage: int, replica: int) -> bool:
        """Whether the requests of the batch that a replica runs have been served by its other copy."""
        hedging = self.stages[stage].hedging
        return hedging is not None and hedging.answered(replica)

    def answers(self, stage: int, replica: int) -> tuple[Sequence[int], Sequence[int] | None]:
        """The requests that the batch which a replica runs will answer, and for each of them the row of its
        answer among what is computed; None for the rows where each has its own.
        """
        here = self.stages[stage]
        batch = here.running[replica]
        if batch is None or here.spec.coalesce is None:
            return (() if batch is None else batch.requests), None
        rows = range(len(batch.requests)) if batch.fold is None else batch.fold.rows
        riders = here.flight.riders(batch.batch) if here.flight is not None else ()
        requests = [*batch.requests, *(rider.request for rider in riders)]
        return requests, [*rows, *(rider.row for rider in riders)]

    def gone(self) -> dict[int, Mapping[int, int]]:
        """By each stage that goes on without branches, a live view of who did so: request to the bits of
        the parents, by number, that were there.
        """
        return {
            stage.index: stage.joining.gone
            for stage in self.stages
            if stage.joining is not None and stage.spec.partial
        }

    @property
    def batches_arrivals(self) -> bool:
        """May arrivals be brought late and together? Not where each of them is an event of its own."""
        return (
            not self.expire
            and self.newest is None
            and self.service_levels is None
            and all(
                root.queue_bound == NO_SIZE
                and root.admits is None
                and root.limited is None
                and root.flight is None
                and root.spec.max_items is None
                for root in self.roots
            )
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
            not self.out
            and self.expiry_ns == NEVER_NS
            and not any(stage.joining and stage.joining.due_ns != NEVER_NS for stage in self.stages)
            and all(
                stage.wake_ns == NEVER_NS and not stage.returning and not any(stage.running)
                for stage in self.stages
            )
        )

    def close(self, now_ns: int, reason: str) -> list[Command]:
        """Fail whatever still waits, for a run that ends before its requests do."""
        for stage in self.stages:
            flow.abandon(self, stage, now_ns, f"{reason}, waiting at {stage.spec.name}")
        self.dirty = 0
        out, self.out = self.out, []
        return [command for command in out if isinstance(command, Complete | Drop)]

    def log(
        self, end_ns: int, info: dict[str, object] | None = None, *, over: bool = False
    ) -> RunLog:
        """The run so far; ``over`` promises that there will be no more of it."""
        chosen = None if self.service_levels is None else self.service_levels.of
        return build_log(
            self.pipeline, self.requests, self.stages, self.drops, end_ns, info or {}, over, chosen
        )
