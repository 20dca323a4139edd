"""How requests move between queues: entering, joining, ending, leaving early."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat

from policies.board import Board
from policies.commands import MERGE_TIMER, Complete, Drop, SetTimer, StartBatch
from policies.contract import NO_SIZE
from policies.queues import Taken
from policies.runlog import Outcome
from policies.service_level import pass_by
from policies.stage_state import StageState

SUPERSEDED = "superseded by the next request of its key"


def enter(
    board: Board, here: StageState, now_ns: int, entered_ns: int, requests: Sequence[int]
) -> None:
    """Requests join a queue, as far as they may; its policy is asked if its hold has its size."""
    if here.given_up_by:
        gone = [joining.gone for joining in here.given_up_by]
        requests = [request for request in requests if not any(request in each for each in gone)]
    if here.as_chosen is not None and here.as_chosen.passed_at:
        requests = pass_by(board, here, here.as_chosen, now_ns, entered_ns, requests)
    if here.admits is not None or here.limited is not None:
        for request in requests:
            if _passes(board, here, now_ns, request):
                _push(board, here, entered_ns, (request,))
        return
    if here.guarded or board.drops or not here.up:
        requests = _admit(board, here, now_ns, requests)
        if not requests:
            return
    if requests:
        _push(board, here, entered_ns, requests)


def _push(board: Board, here: StageState, entered_ns: int, requests: Sequence[int]) -> None:
    if here.flight is not None:
        requests = here.flight.boarded(entered_ns, requests)
        if not requests:
            return
    count = len(requests)
    here.queue.push(entered_ns, requests)
    here.waiting += count
    if not board.requests.unit_items:
        here.waiting_items += sum(map(board.requests.items.__getitem__, requests))
    if board.estimates is not None:
        board.estimates.entered(here.index, count)
    if (
        here.waiting >= here.wake_size
        or (not here.plain and here.full() and here.ready())
        or (here.limited is not None and here.can_be_asked and here.lapses_ns() < here.wake_ns)
    ):
        board.dirty |= 1 << here.index


def _passes(board: Board, here: StageState, now_ns: int, request: int) -> bool:
    """Whether a request may enter a stage that looks at each; drops it where not."""
    if not _admit(board, here, now_ns, (request,)):
        return False
    deadline_ns = board.requests.deadline_ns[request]
    if here.admits is None or here.admits(here.view(), now_ns, here.admission_state, deadline_ns):
        return True
    reason = f"refused by the admission of {here.spec.name}"
    drop(board, now_ns, (request,), Outcome.SHED, reason)
    return False


def _admit(board: Board, here: StageState, now_ns: int, requests: Sequence[int]) -> Sequence[int]:
    """Those of the requests that may enter; the others are dropped."""
    if board.drops:
        requests = [request for request in requests if request not in board.drops]
    if board.expire:
        deadline_ns = board.requests.deadline_ns
        late = [request for request in requests if deadline_ns[request] <= now_ns]
        if late:
            reason = f"its deadline had passed when it reached {here.spec.name}"
            drop(board, now_ns, late, Outcome.EXPIRED, reason)
            requests = [request for request in requests if deadline_ns[request] > now_ns]
    if board.newest is not None:
        older = [request for request in requests if not board.newest.holds(request)]
        if older:
            drop(board, now_ns, older, Outcome.SHED, SUPERSEDED)
            requests = [request for request in requests if request not in board.drops]
    if not here.up and not here.returning:
        drop(board, now_ns, requests, Outcome.FAILED, no_replica(here))
        return ()
    room = max(here.queue_bound - here.waiting, 0)
    if len(requests) > room:
        reason = f"the queue of {here.spec.name} was full ({here.queue_bound} waiting)"
        drop(board, now_ns, requests[room:], Outcome.SHED, reason)
        requests = requests[:room]
    if here.limited is not None:
        full = [request for request in requests if here.limited.full_for(request)]
        if full:
            reason = f"its priority level in the queue of {here.spec.name} was full"
            drop(board, now_ns, full, Outcome.SHED, reason)
            requests = [request for request in requests if request not in full]
    return requests


def join(
    board: Board, parent: StageState, child: StageState, now_ns: int, requests: Sequence[int]
) -> None:
    """Requests come from one parent of several; they enter when enough of those are done."""
    joining = child.joining
    if joining is not None:
        go_on(
            board,
            child,
            now_ns,
            joining.came(now_ns, child.spec.parents.index(parent.spec.name), requests),
        )
        if joining.due_ns < board.merge_ns:
            board.merge_ns = joining.due_ns
            board.out.append(SetTimer(board.merge_ns, MERGE_TIMER, NO_SIZE))


def go_on(board: Board, child: StageState, now_ns: int, requests: Sequence[int]) -> None:
    """Requests leave a join for its queue; what other branches still do for them is given up."""
    joining = child.joining
    if joining is None or not requests:
        return
    for stage in joining.gives_up:
        for request in requests:
            if request in joining.gone:
                leave_queue(board, stage, request)
                if stage.joining is not None:
                    stage.joining.give_up(request)
    enter(board, child, now_ns, now_ns, requests)


def skip(board: Board, here: StageState, now_ns: int, taken: Taken) -> Taken:
    """Of requests that have left a queue, those that another branch may answer for go on at the join
    without this stage. Returns the others, which are to be served.
    """
    requests, runs = taken
    degrading = here.degrading
    join = None if degrading is None else degrading.join
    if degrading is None or join is None or join.joining is None:
        return taken
    entries = chain.from_iterable(repeat(entered_ns, n) for entered_ns, n in runs)
    served, skipped = [], []
    for request, entered_ns in zip(requests, entries, strict=True):
        if join.joining.can_spare(request):
            here.journal.skipped(request, entered_ns, now_ns)
            skipped.append(request)
        else:
            served.append((request, (entered_ns, 1)))
    go_on(board, join, now_ns, join.joining.missed(degrading.parent, skipped))
    return [request for request, _ in served], [run for _, run in served]


def finish(board: Board, requests: Sequence[int]) -> None:
    """Requests left a stage that nothing follows; with several such, all must be left."""
    if board.sinks > 1:
        done = board.sinks_done
        complete = []
        for request in requests:
            done[request] = done.get(request, 0) + 1
            if done[request] == board.sinks:
                del done[request]
                complete.append(request)
        requests = complete
    if requests:
        board.ended += len(requests)
        board.out.append(Complete(requests))


def drop(board: Board, now_ns: int, requests: Iterable[int], outcome: Outcome, reason: str) -> None:
    """These requests end here without an answer, and everywhere else that they wait."""
    dropped = [request for request in dict.fromkeys(requests) if request not in board.drops]
    if not dropped:
        return
    for request in dropped:
        board.drops[request] = (now_ns, outcome, reason)
        if board.forked:
            board.sinks_done.pop(request, None)
            for stage in board.stages:
                if stage.joining is not None:
                    stage.joining.forget(request)
                leave_queue(board, stage, request)
    board.ended += len(dropped)
    board.out.append(Drop(dropped, outcome, reason))


def shed(board: Board, here: StageState, now_ns: int, count: int) -> None:
    """The first ``count`` of a queue end here, as its policy says."""
    requests, runs = here.queue.take(count)
    entries = chain.from_iterable(repeat(entered_ns, n) for entered_ns, n in runs)
    _shed_these(board, here, now_ns, list(zip(requests, entries, strict=True)))


def lapse(board: Board, here: StageState, now_ns: int) -> None:
    """The time of some in a limited queue is up: what befalls them, its policy's limits say."""
    if here.limited is not None and here.waiting:
        _shed_these(board, here, now_ns, here.limited.lapse(now_ns))


def _shed_these(
    board: Board, here: StageState, now_ns: int, entries: Sequence[tuple[int, int]]
) -> None:
    """These have left a queue, (request, entered_ns) each, and end here."""
    requests = [request for request, _ in entries]
    here.waiting -= len(requests)
    if not board.requests.unit_items:
        here.waiting_items -= sum(map(board.requests.items.__getitem__, requests))
    for request, entered_ns in entries:
        here.journal.left(request, entered_ns)
    drop(board, now_ns, requests, Outcome.SHED, f"shed by the policy of {here.spec.name}")


def supersede(board: Board, now_ns: int, requests: Iterable[int]) -> None:
    """The next requests of their keys have come: those that wait in a queue end here."""
    waiting = []
    for request in requests:
        if request not in board.drops:
            left = [leave_queue(board, stage, request) for stage in board.stages]
            if any(left):
                waiting.append(request)
    drop(board, now_ns, waiting, Outcome.SHED, SUPERSEDED)


def ride(board: Board, here: StageState) -> None:
    """Requests that wait in a queue are answered with the batch that has just been sent, where their keys
    are in it.
    """
    flight = here.flight
    if flight is None or not here.waiting:
        return
    riding = [request for request in here.queue if flight.waits(request)]
    if riding:
        here.waiting -= len(riding)
        if not board.requests.unit_items:
            here.waiting_items -= sum(map(board.requests.items.__getitem__, riding))
        requests, runs = here.queue.take_these(riding)
        entries = chain.from_iterable(repeat(entered_ns, n) for entered_ns, n in runs)
        for request, entered_ns in zip(requests, entries, strict=True):
            flight.boarded(entered_ns, (request,))


def answer(here: StageState, now_ns: int, batch: StartBatch) -> Sequence[int]:
    """Those whom a batch that is over answers: its requests, and those that waited for it, who are logged
    as batches of their own that took no time.
    """
    riders = () if here.flight is None else here.flight.ended(batch.batch, batch.computed)
    for first in range(0, len(riders), here.spec.max_batch):
        some = riders[first : first + here.spec.max_batch]
        runs = [(rider.entered_ns, 1) for rider in some]
        row = here.journal.sent(batch.replica, now_ns, [rider.request for rider in some], runs)
        here.journal.shared(row, now_ns)
        here.batches += 1
        if here.caches is not None:
            here.caches.missed.append(0)
        if here.degrading is not None:
            here.degrading.sent.append(batch.level)
    return [*batch.requests, *(rider.request for rider in riders)]


def give_up(board: Board, here: StageState, now_ns: int, batch: StartBatch, reason: str) -> None:
    """A batch will have no answer: its requests fail, and those that wait for it."""
    requests = list(batch.requests)
    if here.flight is not None:
        for rider in here.flight.ended(batch.batch, batch.computed):
            here.journal.left(rider.request, rider.entered_ns)
            requests.append(rider.request)
    drop(board, now_ns, requests, Outcome.FAILED, reason)


def leave_queue(board: Board, stage: StageState, request: int) -> bool:
    """Take one request out of a queue, if it is there."""
    entered_ns = stage.queue.discard(request) if stage.waiting else None
    if entered_ns is None:
        return False
    stage.waiting -= 1
    if not board.requests.unit_items:
        stage.waiting_items -= board.requests.items[request]
    stage.journal.left(request, entered_ns)
    if stage.can_be_asked:
        # Its hold counted on this one: ask again, and set the timer anew.
        stage.wake_size = 1
        board.dirty |= 1 << stage.index
    return True


def abandon(board: Board, stage: StageState, now_ns: int, reason: str) -> None:
    """Fail all that waits at a stage: in its queue, or for another replica."""
    while stage.retries:
        give_up(board, stage, now_ns, stage.retries.popleft().command, reason)
    waiting = []
    for request, entered_ns in stage.queue.clear():
        stage.journal.left(request, entered_ns)
        waiting.append(request)
    stage.waiting = 0
    stage.waiting_items = 0
    board.dirty |= 1 << stage.index  # its hold, if it had one, is over
    drop(board, now_ns, waiting, Outcome.FAILED, reason)


def no_replica(stage: StageState) -> str:
    """Why a request fails at a stage whose replicas are all gone for good."""
    return f"stage {stage.spec.name} has no replica left"
