"""What a server is started with, handed to its process through the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

VARIABLE = "DELAYLINE_BENCHMARK_SERVER"


@dataclass(frozen=True, slots=True)
class Settings:
    """The model's time for a batch of n, ``base_ns + n * per_request_ns``, and how batches form.

    ``wait_ns`` is the server's own setting of time: its longest wait, or BentoML's ``max_latency_ms``.
    Whole milliseconds, as mosec and BentoML take no others.
    """

    base_ns: int
    per_request_ns: int
    max_batch: int
    wait_ns: int
    port: int
    log: str
    """File that the model writes its batches to."""

    def service_ns(self, requests: int) -> int:
        """How long the model is to take."""
        return self.base_ns + requests * self.per_request_ns

    @property
    def capacity_hz(self) -> float:
        """Requests a second that full batches back to back serve."""
        return self.max_batch / self.service_ns(self.max_batch) * 1e9

    def environment(self) -> Mapping[str, str]:
        """Variables that tell a process, for :meth:`of_process`."""
        return {VARIABLE: json.dumps(asdict(self))}

    @staticmethod
    def of_process() -> Settings:
        """What this process was started with."""
        return Settings(**json.loads(os.environ[VARIABLE]))
