"""How requests move between queues: entering, joining, ending, leaving early."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat

from policies.board import Board
from policies.commands import Complete, Drop
from policies.runlog import Outcome
from policies.stage_state import StageState


def enter(
    board: Board, here: StageState, now_ns: int, entered_ns: int, requests: Sequence[int]
) -> None:
    """Requests join a queue, as far as they may; its policy is asked if its hold has its size."""
    if here.guarded or board.drops or not here.up:
        requests = _admit(board, here, now_ns, requests)
        if not requests:
            return
    count = len(requests)
    here.queue.push(entered_ns, requests)
    here.waiting += count
    if not board.requests.unit_items:
        here.waiting_items += sum(map(board.requests.items.__getitem__, requests))
    if board.estimates is not None:
        board.estimates.entered(here.index, count)
    if here.waiting >= here.wake_size or (not here.plain and here.full() and here.ready()):
        board.dirty |= 1 << here.index


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
    if not here.up and not here.returning:
        drop(board, now_ns, requests, Outcome.FAILED, no_replica(here))
        return ()
    room = max(here.queue_bound - here.waiting, 0)
    if len(requests) > room:
        reason = f"the queue of {here.spec.name} was full ({here.queue_bound} waiting)"
        drop(board, now_ns, requests[room:], Outcome.SHED, reason)
        requests = requests[:room]
    return requests


def join(board: Board, child: StageState, now_ns: int, requests: Sequence[int]) -> None:
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
        enter(board, child, now_ns, now_ns, complete)


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
                stage.missing.pop(request, None)
                leave_queue(board, stage, request)
    board.ended += len(dropped)
    board.out.append(Drop(dropped, outcome, reason))


def shed(board: Board, here: StageState, now_ns: int, count: int) -> None:
    """The first ``count`` of a queue end here, as its policy says."""
    requests, runs = here.queue.take(count)
    here.waiting -= count
    if not board.requests.unit_items:
        here.waiting_items -= sum(map(board.requests.items.__getitem__, requests))
    entries = chain.from_iterable(repeat(entered_ns, n) for entered_ns, n in runs)
    for request, entered_ns in zip(requests, entries, strict=True):
        here.journal.left(request, entered_ns)
    drop(board, now_ns, requests, Outcome.SHED, f"shed by the policy of {here.spec.name}")


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
    waiting = [request for retry in stage.retries for request in retry.command.requests]
    stage.retries.clear()
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
