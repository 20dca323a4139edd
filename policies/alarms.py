"""The scheduler's run-wide timers: estimation windows, the policies' ticks, deadlines."""

from __future__ import annotations

import heapq

from policies import autoscaling, flow
from policies.board import Board
from policies.commands import ESTIMATE_TIMER, EXPIRY_TIMER, MERGE_TIMER, TICK_TIMER, SetTimer
from policies.contract import NEVER_NS, NO_SIZE
from policies.estimates import Estimates
from policies.runlog import Outcome


def arm(board: Board) -> None:
    """Ask for the first timers."""
    if board.estimates is not None:
        board.out.append(SetTimer(board.estimates.ends_ns, ESTIMATE_TIMER, NO_SIZE))
    _arm_tick(board)
    autoscaling.arm(board)


def arm_expiry(board: Board) -> None:
    """Ask for a timer at the earliest deadline, unless one is set for then already."""
    if board.deadlines and board.deadlines[0][0] < board.expiry_ns:
        board.expiry_ns = board.deadlines[0][0]
        board.out.append(SetTimer(board.expiry_ns, EXPIRY_TIMER, NO_SIZE))


def run_due(board: Board, now_ns: int) -> None:
    """Close estimation windows, then tick policies, then merge what there is, then let requests expire, then
    have replicas come and go, as far as due.
    """
    estimates = board.estimates
    if estimates is not None and estimates.ends_ns <= now_ns:
        while estimates.ends_ns <= now_ns:
            _close_window(board, estimates)
        board.out.append(SetTimer(estimates.ends_ns, ESTIMATE_TIMER, NO_SIZE))
    if any(stage.next_tick_ns <= now_ns for stage in board.stages):
        _tick(board, now_ns)
        _arm_tick(board)
    if board.merge_ns <= now_ns:
        _merge(board, now_ns)
    if board.deadlines and board.deadlines[0][0] <= now_ns:
        _expire(board, now_ns)
    if board.scaled:
        autoscaling.run_due(board, now_ns)


def _close_window(board: Board, estimates: Estimates) -> None:
    for stage in board.stages:
        for batch, from_ns in zip(stage.running, stage.dispatched_ns, strict=True):
            if batch is not None:
                estimates.ran(stage.index, from_ns, estimates.ends_ns)
    estimates.close_window([stage.up for stage in board.stages])
    for stage in board.stages:
        stage.rate_hz = estimates.rate_hz[stage.index]
        stage.load = estimates.load[stage.index]
        stage.pipeline_load = max(estimates.load)
        if stage.reads_estimates:
            board.ask_again(stage)


def _tick(board: Board, now_ns: int) -> None:
    for stage in board.stages:
        while stage.next_tick_ns <= now_ns:
            stage.policy.on_tick(stage.view(), now_ns, stage.state)
            stage.next_tick_ns += stage.policy.tick_ns
            board.ask_again(stage)


def _arm_tick(board: Board) -> None:
    next_ns = min(stage.next_tick_ns for stage in board.stages)
    if next_ns != NEVER_NS:
        board.out.append(SetTimer(next_ns, TICK_TIMER, NO_SIZE))


def _merge(board: Board, now_ns: int) -> None:
    """Let requests go on without the branches that are late."""
    for stage in board.stages:
        if stage.joining is not None:
            flow.go_on(board, stage, now_ns, stage.joining.overdue(now_ns))
    board.merge_ns = min(
        stage.joining.due_ns for stage in board.stages if stage.joining is not None
    )
    if board.merge_ns != NEVER_NS:
        board.out.append(SetTimer(board.merge_ns, MERGE_TIMER, NO_SIZE))


def _expire(board: Board, now_ns: int) -> None:
    """Drop the requests that are in a queue at their deadline. One that runs is left to finish, and
    is dropped if it should enter another queue.
    """
    late = []
    while board.deadlines and board.deadlines[0][0] <= now_ns:
        request = heapq.heappop(board.deadlines)[1]
        if request not in board.drops:
            left = [flow.leave_queue(board, stage, request) for stage in board.stages]
            if any(left):
                late.append(request)
    flow.drop(board, now_ns, late, Outcome.EXPIRED, "its deadline passed in a queue")
    board.expiry_ns = NEVER_NS
    arm_expiry(board)
