"""From a name to a backend."""

from __future__ import annotations

import os
from typing import Literal, get_args

from sim.backends.base import Backend
from sim.backends.processes import Processes
from sim.backends.threads import Threads

BackendName = Literal["threads", "processes", "ray"]


def backend(name: BackendName, jobs: int, address: str | None = None) -> Backend:
    """The backend of that name on ``jobs`` workers (-1: as many as cores).

    Raises ValueError for an unknown name, or an ``address`` where none is used.
    """
    workers = (os.cpu_count() or 1) if jobs < 0 else max(jobs, 1)
    if name != "ray" and address is not None:
        raise ValueError(f"address is for backend ray; {name} runs on this machine")
    if name == "threads":
        return Threads(workers)
    if name == "processes":
        return Processes(workers)
    raise ValueError(f"backend must be one of {', '.join(get_args(BackendName))}, not {name!r}")
