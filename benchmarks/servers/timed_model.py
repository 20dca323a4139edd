"""A model that takes a known time and writes down what it took."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.servers.settings import Settings
from policies.runlog import Int64

SPIN_NS = 500_000
"""The end of a batch is spun, as a sleep ends up to a few hundred microseconds late."""


class TimedModel:
    """Answers each request with itself, after the time that the settings give a batch of this size.

    It sleeps, so that on few cores it takes no time from what serves HTTP.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = Path(settings.log)

    def __call__(self, requests: Sequence[int]) -> list[int]:
        """Requests are numbers, so that the log tells who went together."""
        begun_ns = time.monotonic_ns()
        due_ns = begun_ns + self._settings.service_ns(len(requests))
        if (left_ns := due_ns - time.monotonic_ns() - SPIN_NS) > 0:
            time.sleep(left_ns / 1e9)
        while (ended_ns := time.monotonic_ns()) < due_ns:
            pass
        with self._log.open("a") as log:
            log.write(json.dumps([begun_ns, ended_ns, list(requests)]) + "\n")
        return list(requests)


@dataclass(frozen=True, slots=True)
class Batches:
    """What the model did, in order. Times are of CLOCK_MONOTONIC, the same in every process."""

    begun_ns: Int64
    ended_ns: Int64
    requests: Int64
    """Requests in each batch."""
    members: tuple[tuple[int, ...], ...]
    """Their numbers."""

    @property
    def service_ns(self) -> Int64:
        """What each took."""
        return self.ended_ns - self.begun_ns

    @staticmethod
    def read(log: Path) -> Batches:
        """All that the model has written so far."""
        rows = sorted(json.loads(line) for line in log.read_text().splitlines())
        return Batches(
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.int64),
            np.array([len(row[2]) for row in rows], np.int64),
            tuple(tuple(row[2]) for row in rows),
        )
