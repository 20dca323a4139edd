"""The model in mosec: ``python -m benchmarks.servers.apps.mosec``."""

from __future__ import annotations

import sys

from mosec import Server, Worker

from benchmarks.servers.settings import Settings
from benchmarks.servers.timed_model import TimedModel


class Model(Worker):
    """One worker process."""

    def __init__(self) -> None:
        super().__init__()
        self._model = TimedModel(Settings.of_process())

    def deserialize(self, data: bytes) -> int:
        """A request is its number."""
        return int(data)

    def serialize(self, data: int) -> bytes:
        """And so is the answer."""
        return str(data).encode()

    def forward(self, data: list[int]) -> list[int]:
        """A batch."""
        return self._model(data)


def main() -> None:
    """Serve until told to stop."""
    settings = Settings.of_process()
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(settings.port), "--log-level", "error"]
    server = Server()
    server.append_worker(
        Model,
        num=1,
        max_batch_size=settings.max_batch,
        max_wait_time=settings.wait_ns // 1_000_000,
    )
    server.run()


if __name__ == "__main__":
    main()
