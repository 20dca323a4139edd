"""The servers: how each is started, what it is asked, and the policy that stands for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

APPS = "benchmarks.servers.apps"


@dataclass(frozen=True, slots=True)
class Kind:
    """A server with the model of known time."""

    name: str
    package: str
    modules: tuple[str, ...]
    """What must be installed."""
    policy: dict[str, object]
    wait_knob: str
    """Knob of the policy that is the settings' ``wait_ns``."""
    wait_ms: int
    command: tuple[str, ...]
    """What starts it; ``{port}`` stands for the port."""
    path: str
    health: str
    """What answers with status 200 once the server is ready."""
    ready: str = ""
    """Text in that answer, where its status does not tell."""
    content_type: str = "application/json"
    body: str = "{}"
    """A request, where ``{}`` stands for its number."""
    environment: dict[str, str] = field(default_factory=dict)
    """``{tmp}`` stands for a folder of the run's own."""

    def missing(self) -> str | None:
        """The first module that is not installed."""
        return next((name for name in self.modules if find_spec(name) is None), None)

    def policy_config(self) -> dict[str, object]:
        """The stage's policy."""
        return {**self.policy, self.wait_knob: f"{self.wait_ms}ms"}


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"{APPS}.{name}", *arguments)


BLOCKING, AWAITING = "blocking", "awaiting"
"""Whether Ray Serve's batched function runs on the replica's event loop, as in Ray's guide, or awaits."""


def _ray_serve(form: str, wait_ms: int) -> Kind:
    return Kind(
        name=f"ray_serve, {form}",
        package="ray",
        modules=("ray", "starlette", "uvicorn"),
        policy={"kind": "ray_serve", "blocks": form == BLOCKING},
        wait_knob="batch_wait_timeout",
        wait_ms=wait_ms,
        command=_module("ray_serve", form),
        # Not in the body: a replica fetches that by a call of its own, once its event loop is free.
        path="/?number={}",
        body="",
        health="/-/routes",
        ready='"/"',
        content_type="text/plain",
        environment={"RAY_USAGE_STATS_ENABLED": "0", "HOME": "{tmp}", "TMPDIR": "{tmp}"},
    )


KINDS = (
    Kind(
        name="mosec",
        package="mosec",
        modules=("mosec",),
        policy={"kind": "mosec"},
        wait_knob="max_wait_time",
        wait_ms=25,
        command=_module("mosec"),
        path="/inference",
        health="/",
        content_type="text/plain",
        environment={"TMPDIR": "{tmp}"},
    ),
    Kind(
        name="litserve",
        package="litserve",
        modules=("litserve",),
        policy={"kind": "litserve"},
        wait_knob="batch_timeout",
        wait_ms=25,
        command=_module("litserve"),
        path="/predict",
        health="/health",
        environment={"TMPDIR": "{tmp}"},
    ),
    _ray_serve(BLOCKING, 25),
    _ray_serve(AWAITING, 100),
    Kind(
        name="bentoml",
        package="bentoml",
        modules=("bentoml",),
        policy={"kind": "bentoml"},
        wait_knob="max_latency",
        wait_ms=60_000,
        command=(
            str(Path(sys.executable).with_name("bentoml")),
            *("serve", f"{APPS}.bentoml:Model", "--host", "127.0.0.1", "--port", "{port}"),
        ),
        path="/forward",
        health="/readyz",
        body='{"requests": [{}]}',
        environment={"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{tmp}", "TMPDIR": "{tmp}"},
    ),
)
