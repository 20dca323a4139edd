"""The load generator on a clock of the test's own: who is sent when, and what lateness is told."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executors.dispatcher import Submission, lateness
from executors.load import Generator, generator
from policies.contract import NEVER_NS
from policies.workload import ClosedWorkload, Workload


class SteppingLine:
    """Time that goes on by a step at every look; notes what is sent, answers at once if asked to."""

    def __init__(self, step_ns: int) -> None:
        self.clock_ns = -3 * step_ns
        self.step_ns = step_ns
        self.sent: list[tuple[int, Submission]] = []
        self.answers: Generator | None = None

    def now_ns(self) -> int:
        self.clock_ns += self.step_ns
        return self.clock_ns

    def send(self, submission: Submission) -> None:
        self.sent.append((self.clock_ns, submission))
        if self.answers is not None:
            self.answers.freed(self.clock_ns, len(submission.items))


class Instant(threading.Event):
    """A stop that is never asked for and never waits."""

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is None or timeout > 0
        return False


def column(sent: Sequence[tuple[int, Submission]], name: str) -> list[int]:
    return [value for _, submission in sent for value in getattr(submission, name)]


GAPS = st.lists(st.integers(0, 500), min_size=1, max_size=50)


@settings(deadline=None)
@given(GAPS, st.integers(1, 200))
def test_an_open_loop_sends_everything_once_in_order_and_never_early(
    gaps: list[int], step_ns: int
) -> None:
    due_ns = np.cumsum(gaps)
    inputs = {"x": np.arange(7)}
    workload = Workload.of(
        due_ns, deadline_after_ns=1000, items=np.arange(1, len(gaps) + 1, dtype=np.int64)
    )
    line, source = SteppingLine(step_ns), generator(workload, inputs)
    source.run(line, Instant())
    assert column(line.sent, "arrival_ns") == due_ns.tolist()
    assert column(line.sent, "deadline_ns") == (due_ns + 1000).tolist()
    assert column(line.sent, "items") == list(range(1, len(gaps) + 1))
    carried = np.concatenate([submission.inputs["x"] for _, submission in line.sent])
    assert carried.tolist() == [k % 7 for k in range(len(gaps))]
    for at_ns, submission in line.sent:
        assert max(submission.arrival_ns) <= at_ns
    # Lateness is from when each was due, also for those that a slow generator sent together.
    sent_at = [at_ns + step_ns for at_ns, submission in line.sent for _ in submission.items]
    assert list(source.late_ns) == [
        at_ns - due for at_ns, due in zip(sent_at, due_ns.tolist(), strict=True)
    ]


@settings(deadline=None, max_examples=50)
@given(GAPS, st.integers(1, 5), st.integers(50, 200))
def test_a_closed_loop_thinks_from_each_answer_on(
    thinks: list[int], clients: int, step_ns: int
) -> None:
    total = len(thinks)
    workload = ClosedWorkload(
        clients,
        np.array(thinks, np.int64),
        np.arange(1, total + 1, dtype=np.int64),
        np.zeros(total, np.int8),
    )
    line, source = SteppingLine(step_ns), generator(workload, {})
    line.answers = source
    source.run(line, Instant())
    arrivals = column(line.sent, "arrival_ns")
    assert arrivals == sorted(arrivals)
    assert sorted(column(line.sent, "items")) == list(range(1, total + 1))
    assert set(column(line.sent, "deadline_ns")) == {NEVER_NS}
    assert min(source.late_ns) >= 0
    if clients == 1:
        # Each thought begins when the one before it was answered.
        answered = [0, *(at_ns for at_ns, _ in line.sent)]
        assert arrivals == [at + think for at, think in zip(answered, thinks, strict=False)]


def test_a_generator_that_is_stopped_sends_no_more() -> None:
    stop = threading.Event()
    stop.set()
    for workload in (
        Workload.of(np.zeros(3, np.int64)),
        ClosedWorkload(1, np.zeros(3, np.int64), np.ones(3, np.int64), np.zeros(3, np.int8)),
    ):
        line = SteppingLine(1)
        generator(workload, {}).run(line, stop)
        assert line.sent == []


@pytest.mark.parametrize(
    ("late", "told"), [([], (0, 0, 0, 0)), ([5], (1, 5, 5, 5)), ([1, 2, 3, 100], (4, 2, 97, 100))]
)
def test_lateness_is_told_by_median_tail_and_maximum(
    late: list[int], told: tuple[int, int, int, int]
) -> None:
    names = ("count", "median_ns", "p99_ns", "max_ns")
    assert lateness(late) == dict(zip(names, told, strict=True))
