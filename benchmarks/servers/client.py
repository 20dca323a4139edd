"""An open-loop HTTP client: requests go when they are due, over connections that are kept.

It waits for no answer. A request that goes late keeps the time that it was due at, and the lateness is
told. Plain sockets and ``select``, as asyncio's timers (and epoll's) are whole milliseconds.
"""

from __future__ import annotations

import gc
import re
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policies.runlog import Int64

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
CONNECTIONS = 500
"""More would not fit ``select``; as many requests in flight mean that the server cannot keep up."""
KEPT_NS = 1_000_000_000
"""A connection that was idle for longer is not used again: the server may be about to close it."""


class LoadError(Exception):
    """The server did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What became of the requests, in order; all times of CLOCK_MONOTONIC."""

    due_ns: Int64
    sent_ns: Int64
    answered_ns: Int64
    """-1 where there was no answer with status 200."""
    refused: dict[int, int]
    """Request to status, where that was another."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and how a request says its number."""

    port: int
    path: str
    content_type: str
    body: str
    """``{}`` stands for the number, in the path too."""

    def request(self, number: int) -> bytes:
        """The bytes of a request."""
        path, body = (text.replace("{}", str(number)) for text in (self.path, self.body))
        return (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: {self.content_type}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


class _Connection:
    """One connection and the request that is on it."""

    __slots__ = ("idle_since_ns", "number", "received", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = -1
        self.received = b""
        self.idle_since_ns = time.monotonic_ns()

    def fileno(self) -> int:
        return self.socket.fileno()

    def answer(self) -> tuple[int, bool] | None:
        """The status of an answer that is here whole and whether the connection ends, or None."""
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        length = _LENGTH.search(head)
        if length is None:
            raise LoadError(f"an answer without a length: {self.received[:200]!r}")
        if len(body) < int(length[1]):
            return None
        self.received = b""
        return int(head.split(maxsplit=2)[1]), _CLOSE.search(head) is not None


class Client:
    """Sends each request once, at ``start_ns`` plus its offset."""

    def __init__(
        self, target: Target, offsets_ns: Sequence[int] | Int64, patience_s: float
    ) -> None:
        self._target = target
        self._offsets_ns = np.asarray(offsets_ns, np.int64)
        self._patience_s = patience_s
        count = len(self._offsets_ns)
        self._sent_ns = np.full(count, -1, np.int64)
        self._answered_ns = np.full(count, -1, np.int64)
        self._refused: dict[int, int] = {}
        self._idle: list[_Connection] = []
        self._busy: dict[int, _Connection] = {}

    def run(self) -> Exchange:
        """Send all, and wait for the answers, ``patience_s`` after the last request at the longest."""
        gc.disable()
        try:
            return self._run()
        finally:
            gc.enable()
            for connection in [*self._idle, *self._busy.values()]:
                connection.socket.close()

    def _run(self) -> Exchange:
        requests = [self._target.request(number) for number in range(len(self._offsets_ns))]
        self._idle = [_Connection(self._target.port)]
        start_ns = time.monotonic_ns() + 10_000_000
        due_ns = self._offsets_ns + start_ns
        for number, (at_ns, request) in enumerate(zip(due_ns.tolist(), requests, strict=True)):
            while (left_ns := at_ns - time.monotonic_ns()) > 0:
                self._receive(left_ns / 1e9)
            self._send(number, request)
        end_ns = time.monotonic_ns() + int(self._patience_s * 1e9)
        while self._busy and (left_ns := end_ns - time.monotonic_ns()) > 0:
            self._receive(left_ns / 1e9)
        return Exchange(due_ns, self._sent_ns, self._answered_ns, self._refused)

    def _send(self, number: int, request: bytes) -> None:
        connection = self._connection()
        connection.number = number
        connection.socket.sendall(request)
        self._sent_ns[number] = time.monotonic_ns()
        self._busy[connection.fileno()] = connection

    def _connection(self) -> _Connection:
        """The one that was used last, so that the others may grow old, or a new one."""
        if self._idle:
            connection = self._idle.pop()
            if time.monotonic_ns() - connection.idle_since_ns < KEPT_NS:
                return connection
            for old in [connection, *self._idle]:
                old.socket.close()
            self._idle.clear()
        if len(self._busy) >= CONNECTIONS:
            raise LoadError(f"{CONNECTIONS} requests without an answer: the server is too slow")
        return _Connection(self._target.port)

    def _receive(self, wait_s: float) -> None:
        if not self._busy:
            time.sleep(wait_s)
            return
        readable, _, _ = select.select(list(self._busy), [], [], wait_s)
        now_ns = time.monotonic_ns()
        for descriptor in readable:
            connection = self._busy[descriptor]
            data = connection.socket.recv(65536)
            if not data:
                raise LoadError(f"the server closed the connection of request {connection.number}")
            connection.received += data
            self._take_answer(connection, now_ns)

    def _take_answer(self, connection: _Connection, now_ns: int) -> None:
        answer = connection.answer()
        if answer is None:
            return
        status, ends = answer
        del self._busy[connection.fileno()]
        if status == 200:
            self._answered_ns[connection.number] = now_ns
        else:
            self._refused[connection.number] = status
        if ends:
            connection.socket.close()
        else:
            connection.idle_since_ns = now_ns
            self._idle.append(connection)
