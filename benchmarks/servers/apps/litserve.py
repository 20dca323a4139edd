"""The model in LitServe: ``python -m benchmarks.servers.apps.litserve``."""

# No annotations of the future here: LitServe reads those of decode_request and encode_response.
from typing import cast

import litserve
from starlette.requests import Request

from benchmarks.servers.settings import Settings
from benchmarks.servers.timed_model import TimedModel


class Model(litserve.LitAPI):
    """One worker process."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """In the worker."""
        self._model = TimedModel(Settings.of_process())

    def decode_request(self, request: Request) -> int:
        """LitServe hands over the request's JSON, which is its number."""
        return cast("int", request)

    def batch(self, inputs: list[int]) -> list[int]:
        """As they are."""
        return inputs

    def predict(self, x: list[int]) -> list[int]:
        """A batch."""
        return self._model(x)

    def unbatch(self, output: list[int]) -> list[int]:
        """As they are."""
        return output

    def encode_response(self, output: int) -> int:
        """The number."""
        return output


def main() -> None:
    """Serve until told to stop."""
    settings = Settings.of_process()
    api = Model(max_batch_size=settings.max_batch, batch_timeout=settings.wait_ns / 1e9)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=settings.port, generate_client_file=False, log_level="error")


if __name__ == "__main__":
    main()
