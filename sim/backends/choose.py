"""From a name to a backend."""

from __future__ import annotations

import os
from typing import Literal, get_args

from configs.model import Config
from sim.backends.base import Backend, BackendError
from sim.backends.processes import Processes
from sim.backends.threads import Threads

BackendName = Literal["threads", "processes", "ray"]


def backend(name: BackendName, jobs: int, address: str | None = None) -> Backend:
    """The backend of that name on ``jobs`` workers (-1: as many as cores, of the cluster for ray).

    Raises BackendError for an unknown name, an ``address`` where none is used, or what
    :class:`sim.backends.cluster.Cluster` raises.
    """
    if name != "ray" and address is not None:
        raise BackendError(f"address is for backend ray; {name} run on this machine")
    if name == "ray":
        from sim.backends.cluster import Cluster

        return Cluster(jobs, address)
    workers = (os.cpu_count() or 1) if jobs < 0 else max(jobs, 1)
    if name == "threads":
        return Threads(workers)
    if name == "processes":
        return Processes(workers)
    raise BackendError(f"backend must be one of {', '.join(get_args(BackendName))}, not {name!r}")


def backend_for(
    config: Config,
    jobs: int,
    name: BackendName | None = None,
    address: str | None = None,
) -> Backend:
    """The backend of that name, or the one that suits simulations of ``config``.

    An address means ray. Otherwise it is threads where the compiled driver runs, which lets go of the
    interpreter, and processes where the reference does. Raises BackendError as :func:`backend` does.
    """
    if name is None and address is not None:
        name = "ray"
    if name is None:
        from sim.simulate import engine_for

        # One worker is this process either way, and need not ask what compiles.
        compiled = jobs in (0, 1) or engine_for(config)[0] == "compiled"
        name = "threads" if compiled else "processes"
    return backend(name, jobs, address)
