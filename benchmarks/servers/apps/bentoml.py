"""The model in BentoML: ``bentoml serve benchmarks.servers.apps.bentoml:Model``."""

from __future__ import annotations

import bentoml

from benchmarks.servers.settings import Settings
from benchmarks.servers.timed_model import TimedModel

SETTINGS = Settings.of_process()


@bentoml.service(workers=1)
class Model:
    """One worker process, whose model runs on a thread."""

    def __init__(self) -> None:
        self._model = TimedModel(SETTINGS)

    @bentoml.api(
        batchable=True,
        max_batch_size=SETTINGS.max_batch,
        max_latency_ms=SETTINGS.wait_ns // 1_000_000,
    )
    def forward(self, requests: list[int]) -> list[int]:
        """A batch."""
        return self._model(requests)
