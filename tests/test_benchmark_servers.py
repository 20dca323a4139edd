"""What compares real servers with their policies: statistics, schedule, client, and one short real run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from benchmarks.servers import report
from benchmarks.servers.beside import Served, constant_ns, simulated, turnaround_ns
from benchmarks.servers.client import Client, Exchange, LoadError, Target
from benchmarks.servers.comparison import Compared, Run, Side, compare, errors
from benchmarks.servers.kinds import KINDS, Kind
from benchmarks.servers.process import StartError, running
from benchmarks.servers.session import Part, Plan, Schedule, Session, run_session, schedule
from benchmarks.servers.settings import Settings
from benchmarks.servers.timed_model import Batches, TimedModel

MS = 1_000_000
SETTINGS = Settings(50 * MS, 5 * MS, 4, 25 * MS, 0, "")


def batches(*rows: tuple[int, int, tuple[int, ...]]) -> Batches:
    """Of (begin, end, members), in milliseconds."""
    return Batches(
        np.array([row[0] for row in rows], np.int64) * MS,
        np.array([row[1] for row in rows], np.int64) * MS,
        np.array([len(row[2]) for row in rows], np.int64),
        tuple(row[2] for row in rows),
    )


def session(due_ms: list[int], answered_ms: list[int], done: Batches, alone: int = 1) -> Session:
    """Of requests due and answered at these times; the first ones go alone."""
    due_ns, answered_ns = (np.array(times, np.int64) * MS for times in (due_ms, answered_ms))
    exchange = Exchange(due_ns, due_ns, np.where(answered_ns < 0, -1, answered_ns), {})
    parts = (Part(0.0, 0, alone), Part(0.5, alone, len(due_ms)))
    return Session(SETTINGS, Schedule(due_ns, parts), exchange, done)


def test_a_batch_counts_once_however_many_requests_tell_of_it() -> None:
    side = Side.of(np.array([10, 20, 30, 40, 50]) * MS, np.array([1, 2, 2, 2, 2]), 4)
    assert side.batch == pytest.approx(5 / 3)  # one of 1, two of 2
    assert side.shares == pytest.approx((1 / 3, 2 / 3, 0, 0))
    assert side.p50_ms == 30
    assert side.later(5).p99_ms == pytest.approx(side.p99_ms + 5)
    other = Side.of(np.array([1]), np.array([4]), 4)
    assert side.distance(other) == pytest.approx(1)
    assert side.distance(side) == 0


def test_errors_are_medians_over_runs_of_absolute_errors() -> None:
    real = Side(100, 200, 2, (1.0,))
    told = [Side(100 + off, 200 + 2 * off, 2, (1.0,)) for off in (-30, 5, 8)]
    found = errors([(real, side) for side in told])
    assert (found.p50, found.p99, found.batch) == pytest.approx((0.08, 0.08, 0))
    assert found.reached
    assert not errors([(real, Side(100, 221, 2, (1.0,)))]).reached


def test_a_schedule_has_its_count_and_rate_at_each_load() -> None:
    plan = Plan(loads=(0.3, 0.8), runs=2, seconds=20, warm_up=7, alone=3)
    made = schedule(80.0, plan)
    assert [(part.load, part.end - part.first) for part in made.parts] == [
        (0.0, 3),
        *(2 * [(0.3, 240), (0.8, 640)]),
    ]
    assert made.parts[0].first == 7
    assert made.parts[-1].end == len(made.offsets_ns)
    assert (np.diff(made.offsets_ns) >= 0).all()
    last = made.offsets_ns[made.parts[-1].requests]
    assert (last[-1] - last[0]) / 1e9 == pytest.approx(10, rel=0.15)
    assert (schedule(80.0, plan).offsets_ns == made.offsets_ns).all()


def test_the_turnaround_is_that_before_full_batches_of_requests_that_waited() -> None:
    full = [(k, tuple(range(4 * k, 4 * k + 4))) for k in range(8)]
    rows = [(100 * k + k % 3, 100 * k + 97, members) for k, members in full]
    waited = session([0] * 32, [1000] * 32, batches(*rows))
    assert turnaround_ns(waited) == 4 * MS  # gaps 4, 5, 3, 4, 5, 3, 4
    came_later = session([95 + 100 * (k // 4) for k in range(32)], [1000] * 32, batches(*rows))
    assert turnaround_ns(came_later) == 0
    few = session([0] * 32, [1000] * 32, batches(*rows[:4]))
    assert turnaround_ns(few) == 0


def test_the_constant_is_what_a_request_alone_takes_longer() -> None:
    ran = session([0, 200, 400], [60, 262, 500], batches(), alone=2)
    real = Served(ran.exchange.answered_ns - ran.exchange.due_ns, np.ones(3, np.int64))
    beside = Served(np.array([55, 55, 55]) * MS, np.ones(3, np.int64))
    assert constant_ns(ran, real, beside) == 6 * MS


def test_a_server_that_follows_its_policy_is_told_without_error() -> None:
    """Batches as mosec's rule has them, answered 3 ms after their end; one request has no answer."""
    due_ms = [0, 200, 205, 210, 220, 250, 400]
    done = batches((25, 80, (0,)), (220, 290, (1, 2, 3, 4)), (315, 370, (5,)), (425, 480, (6,)))
    answered_ms = [83, 293, 293, 293, 293, 373, -1]
    ran = session(due_ms, answered_ms, done)
    policy = {"kind": "mosec", "max_wait_time": "25ms"}
    told = simulated(ran, policy, 1)
    assert (told.latency_ns // MS).tolist() == [80, 90, 85, 80, 70, 120, 80]
    compared = compare(ran, policy, 1)
    (run,) = compared.runs
    assert (compared.constant_ms, compared.turnaround_ms) == (3, 0)
    assert compared.service_ms == pytest.approx((50, 5))
    assert (run.requests, run.unanswered) == (6, 1)
    assert (run.constant.p50_ms, run.constant.p99_ms) == (run.real.p50_ms, run.real.p99_ms)
    assert run.real.shares == run.bare.shares == pytest.approx((0.5, 0, 0, 0.5))


def test_the_model_takes_its_time_and_writes_it_down(tmp_path: Path) -> None:
    settings = Settings(2 * MS, MS, 4, 0, 0, str(tmp_path / "log"))
    model = TimedModel(settings)
    assert [model([7, 8, 9]), model([10])] == [[7, 8, 9], [10]]
    written = Batches.read(tmp_path / "log")
    assert written.members == ((7, 8, 9), (10,))
    assert (written.service_ns >= [5 * MS, 3 * MS]).all()
    assert written.begun_ns[1] >= written.ended_ns[0]


class Slow(BaseHTTPRequestHandler):
    """Takes 30 ms a request; the first has no answer for longer, the third is refused."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        number = int(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(0.3 if number == 0 else 0.03)
        self.send_response(503 if number == 2 else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_client_waits_for_no_answer_and_keeps_the_time_that_was_due() -> None:
    offsets_ns = np.arange(6) * 5 * MS
    with serving(Slow) as port:
        found = Client(Target(port, "/", "text/plain", "{}"), offsets_ns, 5).run()
    assert (np.diff(found.due_ns) == 5 * MS).all()
    assert (found.sent_ns >= found.due_ns).all()
    assert found.refused == {2: 503}
    assert (found.answered_ns < 0).tolist() == [False, False, True, False, False, False]
    # All were sent before the first had its answer.
    assert found.sent_ns.max() < found.answered_ns[0]


def test_the_client_does_not_wait_for_ever() -> None:
    with serving(Slow) as port:
        found = Client(Target(port, "/", "text/plain", "{}"), np.zeros(1, np.int64), 0.05).run()
    assert found.answered_ns.tolist() == [-1]


class Mute(BaseHTTPRequestHandler):
    """Answers without a length, and goes."""

    def do_POST(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")

    def log_message(self, *args: object) -> None:
        """Nothing."""


def test_an_answer_that_cannot_be_read_is_an_error() -> None:
    with serving(Mute) as port, pytest.raises(LoadError, match="an answer without a length"):
        Client(Target(port, "/", "text/plain", "{}"), np.zeros(1, np.int64), 5).run()


def test_a_server_that_does_not_start_says_why_and_leaves_nothing() -> None:
    broken = Kind(
        name="broken",
        package="broken",
        modules=("no_such_package",),
        policy={"kind": "immediate"},
        wait_knob="",
        wait_ms=0,
        command=("sh", "-c", "echo no model here; exit 3"),
        path="/",
        health="/",
    )
    assert broken.missing() == "no_such_package"
    with (
        pytest.raises(StartError, match=r"broken ended with status 3:\nno model here"),
        running(broken, MS, MS, 4),
    ):
        pass


def test_the_table_has_a_row_for_each_load(capsys: pytest.CaptureFixture[str]) -> None:
    sides = [Side(p50, 2 * p50, 2.0, (0.5, 0.5)) for p50 in (100.0, 80.0, 95.0, 98.0)]
    runs = tuple(Run(load, 50, 0, 0.1, *sides) for load in (0.3, 0.3, 0.8))
    compared = Compared(15.0, 4.0, 3.0, (50.0, 5.0), runs)
    report.show({"mosec": compared})
    printed = capsys.readouterr().out
    assert printed.count("20.0% 5.0% 2.0%") == 4  # p50 and p99, two loads
    assert "30%" in printed
    assert "alone a request takes 15.00 ms longer; turnaround 4.00 ms" in printed
    kept = report.as_json({"mosec": compared})["mosec"]["errors"]
    assert kept["0.3"]["bare"]["p50"] == pytest.approx(0.2)


def test_mosec_batches_as_its_policy_says() -> None:
    """A real run, where mosec is installed (the extra ``bench``): what went together, not how fast."""
    mosec = next(kind for kind in KINDS if kind.name == "mosec")
    if mosec.missing():
        pytest.skip("mosec is not installed: pip install -e '.[bench]'")
    ran = run_session(mosec, Plan(loads=(0.6,), runs=1, seconds=1.5, warm_up=5, alone=3))
    assert (ran.exchange.answered_ns > ran.exchange.due_ns).all()
    assert sorted(member for members in ran.batches.members for member in members) == list(
        range(len(ran.exchange.due_ns))
    )
    assert ran.batches.requests.max() <= ran.settings.max_batch
    assert (ran.batches.service_ns >= [50 * MS + 5 * MS * n for n in ran.batches.requests]).all()
    assert compare(ran, mosec.policy_config(), 1).runs[0].real.batch > 1
