"""The model in Ray Serve: ``python -m benchmarks.servers.apps.ray_serve``."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import threading
from typing import Any

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from benchmarks.servers.kinds import BLOCKING
from benchmarks.servers.settings import Settings
from benchmarks.servers.timed_model import TimedModel


def deployment(settings: Settings, form: str) -> Any:
    """The deployment with one replica."""

    @serve.deployment(num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0})
    class Model:
        def __init__(self) -> None:
            self._model = TimedModel(settings)

        @serve.batch(max_batch_size=settings.max_batch, batch_wait_timeout_s=settings.wait_ns / 1e9)
        async def forward(self, requests: list[int]) -> list[int]:
            if form == BLOCKING:
                return self._model(requests)
            return await asyncio.to_thread(self._model, requests)

        async def __call__(self, request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(await self.forward(int(request.query_params["number"]))))

    return Model


def main() -> None:
    """Serve until told to stop."""
    settings = Settings.of_process()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=tempfile.gettempdir(),
    )
    serve.start(http_options={"host": "127.0.0.1", "port": settings.port})
    serve.run(deployment(settings, sys.argv[1]).bind())
    stop.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
