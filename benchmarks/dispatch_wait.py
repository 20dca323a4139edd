"""How late a timed wait wakes, and how long a worker's answer takes, by way of waiting.

Two ways to build the dispatcher's wait: a condition that receiver threads notify (one thread a
worker), or one thread in ``select`` over the workers' pipes. Run: ``python -m benchmarks.dispatch_wait``.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import select
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from executors.realtime import sharpen_this_thread

ROUNDS = 2_000


def echo(conn: Connection, core: int) -> None:
    """A worker that answers at once with the time at which it did."""
    os.sched_setaffinity(0, {core})
    with contextlib.suppress(EOFError):
        while True:
            conn.recv_bytes()
            conn.send_bytes(time.monotonic_ns().to_bytes(8, "little"))


def show(name: str, late_ns: list[int]) -> None:
    p50, p99, top = np.percentile(late_ns, [50, 99, 100]) / 1e3
    print(f"{name:<46} p50 {p50:8.1f} us   p99 {p99:8.1f} us   max {top:9.1f} us", flush=True)


def timers(wait_s: Callable[[float], object], spin_ns: int) -> list[int]:
    """Lateness of timed waits of 0.2 to 2 ms, the last ``spin_ns`` of each spent spinning."""
    rng, late = random.Random(1), []
    for _ in range(ROUNDS // 2):
        due = time.monotonic_ns() + rng.randrange(200_000, 2_000_000)
        wait_s(max(0, due - spin_ns - time.monotonic_ns()) / 1e9)
        while time.monotonic_ns() < due:
            pass
        late.append(time.monotonic_ns() - due)
    return late


def by_select(conns: list[Connection]) -> list[int]:
    """From a worker's answer to the dispatching thread's knowing it, in one thread."""
    late = []
    for i in range(ROUNDS):
        conns[i % len(conns)].send_bytes(b"x")
        ready, _, _ = select.select(conns, [], [], 1.0)
        sent = int.from_bytes(ready[0].recv_bytes(), "little")
        late.append(time.monotonic_ns() - sent)
        time.sleep(0.0002)
    return late


def by_condition(conns: list[Connection]) -> list[int]:
    """The same by receiver threads that notify a condition."""
    condition, inbox, late = threading.Condition(), list[int](), []

    def receive(conn: Connection) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                sent = int.from_bytes(conn.recv_bytes(), "little")
                with condition:
                    inbox.append(sent)
                    condition.notify()

    threads = [threading.Thread(target=receive, args=(c,), daemon=True) for c in conns]
    for thread in threads:
        thread.start()
    for i in range(ROUNDS):
        conns[i % len(conns)].send_bytes(b"x")
        with condition:
            while not inbox:
                condition.wait(1.0)
            sent = inbox.pop()
        late.append(time.monotonic_ns() - sent)
        time.sleep(0.0002)
    return late


def main() -> None:
    """Print the figures."""
    cores = sorted(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    pairs = [spawn.Pipe() for _ in range(3)]
    for _, child in pairs:
        spawn.Process(target=echo, args=(child, cores[-1]), daemon=True).start()
    conns = [parent for parent, _ in pairs]
    os.sched_setaffinity(0, {cores[0]})
    by_select(conns)
    show("answer learnt, select", by_select(conns))
    condition = threading.Condition()

    def wait_condition(s: float) -> None:
        with condition:
            condition.wait(s)

    for slack_ns in (50_000, 1):
        if slack_ns == 1:
            sharpen_this_thread()
        for spin_ns in (0, 60_000):
            tail = f"slack {slack_ns / 1e3:g} us, spin {spin_ns / 1e3:g} us"
            show(f"timer, condition, {tail}", timers(wait_condition, spin_ns))
            show(
                f"timer, select, {tail}",
                timers(lambda s: select.select(conns, [], [], s), spin_ns),
            )
    show("answer learnt, select, slack 1", by_select(conns))
    show("answer learnt, condition and receiver threads", by_condition(conns))


if __name__ == "__main__":
    main()
