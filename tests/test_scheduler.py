"""The state machine by itself: events in, commands out, at hand-picked instants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from policies.commands import Command, Complete, Drop, SetTimer, StartBatch
from policies.contract import NEVER_NS, NO_SIZE, Decision, Dispatch, Hold, Policy, Shed, State, View
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.load_adaptive import LoadAdaptive
from policies.pipeline import CycleError, Device, Discipline, Pipeline, Stage, topological
from policies.queue_limits import QueueLimit
from policies.requests import RequestTable
from policies.runlog import Outcome
from policies.scheduler import PolicyError, Scheduler


def stage(name: str = "s", **changes: object) -> Stage:
    settings: dict[str, object] = {"policy": Immediate(), "predict_ns": lambda n: 10 * n}
    return Stage(name, **{**settings, **changes})  # type: ignore[arg-type]


class Driven:
    """A scheduler with requests that are made up as they arrive."""

    def __init__(self, *stages: Stage, **settings: object) -> None:
        self.table = RequestTable()
        self.scheduler = Scheduler(Pipeline(stages, **settings), self.table)  # type: ignore[arg-type]
        self.first = self.scheduler.decide(0)

    def arrive(
        self,
        now_ns: int,
        count: int = 1,
        deadline_ns: int = NEVER_NS,
        items: int = 1,
        level: int = 0,
    ) -> list[int]:
        ids = [self.table.append(now_ns, deadline_ns, items, level) for _ in range(count)]
        self.scheduler.arrived(now_ns, ids)
        return ids

    def decide(self, now_ns: int) -> list[Command]:
        return self.scheduler.decide(now_ns)


def started(commands: list[Command]) -> list[tuple[int, int, list[int]]]:
    """(stage, replica, requests) of the batches among the commands."""
    return [(c.stage, c.replica, list(c.requests)) for c in commands if isinstance(c, StartBatch)]


def drops(commands: list[Command]) -> list[tuple[list[int], Outcome, str]]:
    return [(list(c.requests), c.outcome, c.reason) for c in commands if isinstance(c, Drop)]


def test_a_batch_goes_to_the_lowest_idle_replica_and_completes() -> None:
    driven = Driven(stage(replicas=2, max_batch=2))
    driven.arrive(5, 3)
    assert started(driven.decide(5)) == [(0, 0, [0, 1]), (0, 1, [2])]
    driven.scheduler.batch_finished(9, 0, 0, started_ns=6)
    assert [c for c in driven.decide(9) if isinstance(c, Complete)] == [Complete([0, 1])]
    driven.scheduler.batch_finished(12, 0, 1)
    driven.decide(12)
    log = driven.scheduler.log(12)
    assert log.stages[0].batches.started_ns.tolist() == [6, 5]
    assert log.requests.ended_ns.tolist() == [9, 9, 12]
    assert driven.scheduler.ended == 3


def test_a_hold_sets_one_timer_and_is_not_asked_about_before() -> None:
    asked: list[int] = []

    @dataclass(frozen=True)
    class Noting(Policy):
        kind: ClassVar[str] = "noting"

        def decide(self, view: View, now_ns: int, state: State) -> Decision:
            asked.append(now_ns)
            return Hold(100, 3) if now_ns < 100 else Dispatch(view.sendable)

    driven = Driven(stage(policy=Noting(), max_batch=8))
    driven.arrive(1)
    assert SetTimer(100, 0, 2) in driven.decide(1)
    driven.arrive(2)
    assert driven.decide(2) == []
    driven.scheduler.timer(50, SetTimer(50, 0, 1))  # stale
    assert driven.decide(50) == []
    driven.scheduler.timer(100, SetTimer(100, 0, 2))
    assert started(driven.decide(100)) == [(0, 0, [0, 1])]
    assert asked == [1, 100]


@pytest.mark.parametrize(
    ("decision", "problem"),
    [
        (Dispatch(3), "dispatched 3 requests, where 1 to 2 can be sent"),
        (Shed(1), "shed 1 requests, though its policy does not say that it sheds"),
        (Dispatch(-1), "shed 1 requests, though its policy does not say that it sheds"),
        (Hold(7), "held until 7, which is not after now"),
        (Hold(9, 2), "held for 2 requests, where 2 wait already"),
    ],
)
def test_nonsense_stops_with_policy_view_and_answer(decision: Decision, problem: str) -> None:
    @dataclass(frozen=True)
    class Nonsense(Policy):
        kind: ClassVar[str] = "nonsense"

        def decide(self, view: View, now_ns: int, state: State) -> Decision:
            return decision

    driven = Driven(stage("rank", policy=Nonsense(), max_batch=8))
    driven.arrive(7, 2)
    with pytest.raises(PolicyError) as caught:
        driven.decide(7)
    start = f"stage rank: the rule of policy Nonsense {problem} (now_ns=7, policy="
    assert str(caught.value).startswith(start)
    assert "view=View(waiting=2, sendable=2," in str(caught.value)


def test_a_policy_that_sheds_is_asked_again_at_once() -> None:
    @dataclass(frozen=True)
    class Impatient(Policy):
        kind: ClassVar[str] = "impatient"

        @property
        def sheds(self) -> bool:
            return True

        def decide(self, view: View, now_ns: int, state: State) -> Decision:
            return Shed(2) if view.waiting > 3 else Dispatch(view.sendable)

    driven = Driven(stage("rank", policy=Impatient(), max_batch=8))
    driven.arrive(7, 5)
    commands = driven.decide(7)
    assert drops(commands) == [([0, 1], Outcome.SHED, "shed by the policy of rank")]
    assert started(commands) == [(0, 0, [2, 3, 4])]


def test_shedding_more_than_waits_is_nonsense() -> None:
    @dataclass(frozen=True)
    class Eager(Policy):
        kind: ClassVar[str] = "eager"

        @property
        def sheds(self) -> bool:
            return True

        def decide(self, view: View, now_ns: int, state: State) -> Decision:
            return Shed(view.waiting + 1)

    driven = Driven(stage("rank", policy=Eager(), max_batch=8))
    driven.arrive(7, 2)
    with pytest.raises(PolicyError, match="shed 3 requests, where 2 wait"):
        driven.decide(7)


def test_the_time_downstream_is_that_of_the_longest_path() -> None:
    shown: list[View] = []

    @dataclass(frozen=True)
    class Watching(Policy):
        kind: ClassVar[str] = "watching"

        def decide(self, view: View, now_ns: int, state: State) -> Decision:
            shown.append(view)
            return Dispatch(view.sendable)

    driven = Driven(
        stage("a", policy=Watching(), max_batch=4),
        stage("left", max_batch=2, parents=("a",), predict_ns=lambda n: 10 * n),
        stage("right", max_batch=4, parents=("a",), predict_ns=lambda n: 8 * n),
        stage("join", max_batch=1, parents=("left", "right"), predict_ns=lambda n: 100 * n),
    )
    driven.arrive(3, 1)
    driven.decide(3)
    assert shown[0].downstream_ns == (0, 110, 120, 124, 132)
    assert (shown[0].head_arrival_ns, shown[0].newest_enqueued_ns) == (3, 3)


def test_fork_and_join_wait_for_all() -> None:
    driven = Driven(
        stage("a", max_batch=4),
        stage("left", max_batch=4, parents=("a",)),
        stage("right", max_batch=4, parents=("a",)),
        stage("join", max_batch=4, parents=("left", "right")),
    )
    driven.arrive(0, 2)
    driven.decide(0)
    driven.scheduler.batch_finished(10, 0, 0)
    assert started(driven.decide(10)) == [(2, 0, [0, 1]), (1, 0, [0, 1])]
    driven.scheduler.batch_finished(15, 2, 0)
    assert started(driven.decide(15)) == []
    driven.scheduler.batch_finished(20, 1, 0)
    assert started(driven.decide(20)) == [(3, 0, [0, 1])]
    driven.scheduler.batch_finished(25, 3, 0)
    assert Complete([0, 1]) in driven.decide(25)


def test_several_sinks_must_all_be_done() -> None:
    driven = Driven(stage("left"), stage("right"))
    driven.arrive(0)
    assert started(driven.decide(0)) == [(1, 0, [0]), (0, 0, [0])]
    driven.scheduler.batch_finished(5, 0, 0)
    assert not [c for c in driven.decide(5) if isinstance(c, Complete)]
    driven.scheduler.batch_finished(8, 1, 0)
    assert Complete([0]) in driven.decide(8)
    assert driven.scheduler.log(8).requests.ended_ns.tolist() == [8]


def test_a_request_shed_on_one_branch_leaves_the_others() -> None:
    driven = Driven(
        stage("left", max_batch=1, queue_bound=1),
        stage("right", max_batch=1, policy=Fixed(delay_ns=100)),
    )
    driven.arrive(0)
    driven.decide(0)
    driven.arrive(1)
    driven.decide(1)
    driven.arrive(2)
    commands = driven.decide(2)
    assert drops(commands) == [([2], Outcome.SHED, "the queue of left was full (1 waiting)")]
    right = driven.scheduler.stages[1]
    assert list(right.queue) == [1]
    assert right.waiting == 1


def test_queues_serve_by_deadline_or_priority() -> None:
    edf = Driven(stage(discipline=Discipline.EDF))
    edf.arrive(0, deadline_ns=100)
    edf.decide(0)
    for deadline_ns in (300, 200, 200, 400):
        edf.arrive(1, deadline_ns=deadline_ns)
    order = []
    for now_ns in (10, 20, 30, 40):
        edf.scheduler.batch_finished(now_ns, 0, 0)
        order += started(edf.decide(now_ns))[0][2]
    assert order == [2, 3, 1, 4]
    levels = Driven(stage(discipline=Discipline.PRIORITY, max_batch=2))
    levels.arrive(0)
    levels.decide(0)
    for level in (2, 0, 1):
        levels.arrive(1, level=level)
    assert levels.scheduler.stages[0].queue.oldest_ns() == 1
    levels.scheduler.batch_finished(10, 0, 0)
    assert started(levels.decide(10)) == [(0, 0, [2, 3])]


def test_a_batch_is_capped_by_items_and_holds_one_request_at_least() -> None:
    driven = Driven(stage(max_batch=8, max_items=10, policy=Fixed(delay_ns=100)))
    driven.arrive(0, items=4)
    driven.arrive(0, items=5)
    assert started(driven.decide(0)) == []
    driven.arrive(1, items=40)
    assert started(driven.decide(1)) == [(0, 0, [0, 1])]
    driven.scheduler.batch_finished(2, 0, 0)
    # A request above the cap goes alone, and at once: its batch cannot grow.
    driven.arrive(2, items=1)
    assert started(driven.decide(2)) == [(0, 0, [2])]


def test_requests_expire_at_their_deadline_in_a_queue_but_not_on_a_replica() -> None:
    driven = Driven(stage("a"), stage("b", parents=("a",)), expire=True)
    driven.arrive(0, deadline_ns=50)
    driven.decide(0)
    driven.arrive(1, deadline_ns=40)
    timers = [c for c in driven.decide(1) if isinstance(c, SetTimer)]
    assert [timer.at_ns for timer in timers] == [40]
    driven.scheduler.timer(40, timers[0])
    assert drops(driven.decide(40)) == [([1], Outcome.EXPIRED, "its deadline passed in a queue")]
    driven.scheduler.batch_finished(60, 0, 0)
    reason = "its deadline had passed when it reached b"
    assert drops(driven.decide(60)) == [([0], Outcome.EXPIRED, reason)]


def test_a_completion_at_the_deadline_counts() -> None:
    driven = Driven(stage(), expire=True)
    driven.arrive(0, deadline_ns=50)
    driven.decide(0)
    driven.scheduler.batch_finished(50, 0, 0)
    assert Complete([0]) in driven.decide(50)


def test_a_shared_device_runs_no_more_than_its_slots() -> None:
    device = {"device": ("gpu",)}
    driven = Driven(
        stage("a", **device), stage("b", parents=("a",), **device), devices=(Device("gpu", 1),)
    )
    driven.arrive(0, 2)
    assert started(driven.decide(0)) == [(0, 0, [0])]
    driven.scheduler.batch_finished(10, 0, 0)
    assert started(driven.decide(10)) == [(1, 0, [0])]
    driven.scheduler.batch_finished(20, 1, 0)
    assert started(driven.decide(20)) == [(0, 0, [1])]


def test_replicas_on_different_devices_start_where_a_slot_is_free() -> None:
    driven = Driven(
        stage("a", replicas=3, device=("x", "x", "y")), devices=(Device("x", 1), Device("y", 1))
    )
    assert driven.scheduler.stages[0].ready_replicas() == 2
    driven.arrive(0, 3)
    assert started(driven.decide(0)) == [(0, 0, [0]), (0, 2, [1])]
    driven.scheduler.batch_finished(5, 0, 2)
    assert started(driven.decide(5)) == [(0, 2, [2])]


def test_a_failed_batch_fails_its_requests_and_frees_the_replica() -> None:
    driven = Driven(stage("rank", max_batch=2))
    driven.arrive(0, 3)
    driven.decide(0)
    driven.scheduler.batch_failed(5, 0, 0, "ValueError: bad")
    commands = driven.decide(5)
    assert drops(commands) == [([0, 1], Outcome.FAILED, "ValueError: bad")]
    assert started(commands) == [(0, 0, [2])]


def test_a_batch_is_retried_once_then_fails() -> None:
    driven = Driven(stage("rank", max_batch=2, replicas=2))
    driven.arrive(0, 2)
    driven.decide(0)
    driven.scheduler.replica_lost(5, 0, 0, returns=True)
    assert started(driven.decide(5)) == [(0, 1, [0, 1])]
    driven.scheduler.replica_lost(9, 0, 1, returns=True)
    reason = "stage rank lost the replica of this batch twice"
    assert drops(driven.decide(9)) == [([0, 1], Outcome.FAILED, reason)]


def test_a_single_replica_that_returns_retries_its_own_batch() -> None:
    driven = Driven(stage("rank", max_batch=2))
    driven.arrive(0)
    driven.decide(0)
    driven.scheduler.replica_lost(5, 0, 0, returns=True)
    driven.arrive(6)
    assert driven.decide(6) == []
    driven.scheduler.replica_back(20, 0, 0)
    assert started(driven.decide(20)) == [(0, 0, [0])]
    driven.scheduler.batch_finished(30, 0, 0)
    assert started(driven.decide(30)) == [(0, 0, [1])]
    assert driven.scheduler.log(40).stages[0].down == ((0, 5, 20),)


def test_without_any_replica_left_everything_fails_with_that_reason() -> None:
    driven = Driven(stage("rank"))
    driven.arrive(0, 2)
    driven.decide(0)
    driven.scheduler.replica_lost(5, 0, 0, returns=False)
    driven.arrive(6)
    failed = [request for ids, outcome, _ in drops(driven.decide(6)) for request in ids]
    assert sorted(failed) == [0, 1, 2]
    assert driven.scheduler.drops[2][2] == "stage rank has no replica left"


def test_a_hold_ends_with_the_last_replica() -> None:
    driven = Driven(stage("rank", max_batch=4, policy=Fixed(delay_ns=100)))
    driven.arrive(0)
    driven.decide(0)
    assert not driven.scheduler.idle
    driven.scheduler.replica_lost(5, 0, 0, returns=False)
    driven.decide(5)
    assert driven.scheduler.idle


def test_load_and_rate_are_counted_over_windows() -> None:
    policy = LoadAdaptive(initial_ns=50, step_ns=10, interval_ns=100, threshold=0.5, max_ns=100)
    driven = Driven(stage(policy=policy, max_batch=1), estimate_window_ns=100)
    timers = [c for c in driven.first if isinstance(c, SetTimer) and c.at_ns == 100]
    assert [timer.more for timer in timers] == [NO_SIZE, NO_SIZE]
    driven.arrive(10)
    driven.decide(10)
    for timer in timers:
        driven.scheduler.timer(100, timer)
    driven.decide(100)
    here = driven.scheduler.stages[0]
    # One entry in 100 ns, and busy from 10 to the window's end.
    assert here.rate_hz == pytest.approx(1e7)
    assert here.load == pytest.approx(0.9)
    assert here.state == [60]


def test_what_waits_for_ever_is_closed_with_a_reason() -> None:
    driven = Driven(stage(max_batch=4, policy=Fixed(delay_ns=NEVER_NS // 2)))
    driven.arrive(0)
    driven.decide(0)
    assert not driven.scheduler.idle
    commands = driven.scheduler.close(9, "stopped")
    assert drops(commands) == [([0], Outcome.FAILED, "stopped, waiting at s")]
    visits = driven.scheduler.log(9).stages[0].visits
    assert visits.row.tolist() == [-1]


def test_finishing_an_idle_replica_is_an_error() -> None:
    driven = Driven(stage("rank"))
    with pytest.raises(ValueError, match="replica 0 of stage rank runs no batch"):
        driven.scheduler.batch_finished(5, 0, 0)


def test_topological_order_and_cycles() -> None:
    assert topological({"b": ("a",), "a": (), "c": ("b", "a")}) == ["a", "b", "c"]
    with pytest.raises(CycleError, match="a -> c -> b -> a"):
        topological({"a": ("c",), "b": ("a",), "c": ("b",)})


@dataclass(frozen=True, slots=True)
class Impatient(Policy):
    """Holds for full batches, in a queue with limits."""

    kind: ClassVar[str] = "test-impatient"

    limits: tuple[QueueLimit, ...] = ()

    def decide(self, view: View, now_ns: int, state: State) -> Decision:
        return Dispatch(view.sendable) if view.sendable == view.max_batch else Hold(NEVER_NS)


def test_a_hold_ends_when_the_time_of_a_request_in_the_queue_does() -> None:
    """Longer than its time, not as long; the next one's timer is set for its own."""
    driven = Driven(stage(policy=Impatient((QueueLimit(10),)), max_batch=4))
    driven.arrive(0, 2)
    assert SetTimer(11, 0, NO_SIZE - 2) in driven.decide(0)
    (late,) = driven.arrive(5)
    driven.decide(5)
    assert drops(driven.decide(10)) == []
    driven.scheduler.timer(11, SetTimer(11, 0, NO_SIZE))
    commands = driven.decide(11)
    assert drops(commands) == [([0, 1], Outcome.SHED, "shed by the policy of s")]
    assert SetTimer(16, 0, NO_SIZE - 1) in commands
    driven.scheduler.timer(16, SetTimer(16, 0, NO_SIZE))
    assert drops(driven.decide(16)) == [([late], Outcome.SHED, "shed by the policy of s")]


def test_a_shorter_time_of_another_level_ends_a_hold_sooner() -> None:
    limits = (QueueLimit(3), QueueLimit(50, puts_off=True))
    driven = Driven(
        stage(policy=Impatient(limits), max_batch=4, discipline=Discipline.PRIORITY),
    )
    driven.arrive(0, level=1)
    assert SetTimer(51, 0, NO_SIZE - 1) in driven.decide(0)
    driven.arrive(2, level=0)
    assert SetTimer(6, 0, NO_SIZE - 2) in driven.decide(2)


def test_a_level_that_is_full_turns_away_and_the_others_do_not() -> None:
    driven = Driven(
        stage(
            policy=Impatient((QueueLimit(bound=1), QueueLimit(bound=2))),
            max_batch=8,
            discipline=Discipline.PRIORITY,
        )
    )
    for level, count in ((0, 2), (1, 3), (2, 3)):
        driven.arrive(0, count, level=level)
    reason = "its priority level in the queue of s was full"
    full = [([request], Outcome.SHED, reason) for request in (1, 4, 7)]
    assert drops(driven.decide(0)) == full
