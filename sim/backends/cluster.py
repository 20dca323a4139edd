"""Ray: for a cluster, or as many processes of this machine as a cluster's worker would run.

Nothing of Ray is imported before a :class:`Cluster` is made.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from hashlib import blake2b
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sim.backends.base import AHEAD, Backend, BackendError, R, T, WorkerLostError, in_order

MOST_LOSSES = 3
"""How often a task runs again because its worker or its machine died."""
REACHED_WITHIN_S = 10.0
"""How long an address may take to answer."""
_PACKAGES = ("configs", "policies", "sim", "reports", "delayline")
"""What a worker must have the same as the caller, for its answers to be the same."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # send nobody anything
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or Ray warns that it will be so one day
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",  # skip all: or the end of a worker is told on stdout
}


class Cluster(Backend):
    """Ray's workers.

    ``address`` is that of a running cluster: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``. Without one
    it is in ``RAY_ADDRESS``, or Ray is started on this machine, for as long as the backend lives. With
    ``jobs`` of -1 there are as many tasks at a time as the cluster has CPUs. Workers need the same
    delayline installed as the caller has. Raises BackendError where there is no package ``ray``, nobody
    answers at the address, or a worker has another delayline.
    """

    def __init__(self, jobs: int, address: str | None = None) -> None:
        self._ray = _imported()
        if address is not None:
            _check_answers(address)
        self._own = not self._ray.is_initialized()
        if self._own:
            address = address or os.environ.get("RAY_ADDRESS") or "local"
            _connect(self._ray, address, jobs)
        elif address is not None:
            raise BackendError(
                "this process is connected to Ray already; leave the address out to go on there"
            )
        self._code = None if address == "local" else _code()
        cpus = int(self._ray.cluster_resources().get("CPU", 1))
        self.workers = cpus if jobs < 0 else max(jobs, 1)

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """See :class:`~sim.backends.base.Backend`."""
        ray = self._ray
        remote = ray.remote(max_retries=MOST_LOSSES, num_cpus=1)(_evaluate)
        shared = ray.put(function)  # once for all tasks: it may hold a workload
        give = partial(remote.remote, self._code, shared)
        return in_order(
            tasks, AHEAD * self.workers, give=give, take=self._answer, drop=_cancel(ray)
        )

    def close(self) -> None:
        """Leave the cluster, or end it where it was started here."""
        if self._own:
            self._ray.shutdown()

    def _answer(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
            raise WorkerLostError(MOST_LOSSES + 1) from error
        except errors.RayTaskError as error:
            raise _cause(error) from error


def _evaluate(code: str | None, function: Callable[[T], R], task: T) -> R:
    """One task, on a worker; ``code`` is the caller's where the machine may be another."""
    if code not in (None, _code()):
        raise BackendError(
            f"the worker on {socket.gethostname()} has another delayline than this process, so that its"
            " answers may differ; install the same on all machines of the cluster"
        )
    return function(task)


@cache
def _code() -> str:
    """A digest of the code that answers hang on."""
    digest = blake2b(digest_size=16)
    for name in _PACKAGES:
        spec = find_spec(name)
        folder = Path(str(spec.origin if spec else "")).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{name}/{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _imported() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return import_module("ray")
    except ImportError as error:
        raise BackendError(
            "backend ray needs the package ray, which is not installed; install it by"
            " `pip install 'delayline[ray]'`"
        ) from error


def _connect(ray: Any, address: str, jobs: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        cpus = (os.cpu_count() or 1) if jobs < 0 else max(jobs, 1)
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Ray Client connection timed out", UserWarning)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, TimeoutError, RuntimeError, ValueError, ImportError) as error:
            raise _unreachable(address, str(error)) from error


def _check_answers(address: str) -> None:
    """Ray itself tries for a minute."""
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise BackendError(f"address must be auto, HOST:PORT or ray://HOST:PORT, not {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=REACHED_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, getattr(error, "strerror", None) or str(error)) from error


def _unreachable(address: str, why: str) -> BackendError:
    what = "runs on this machine" if address == "auto" else f"answers at {address}"
    first = re.split(r"[\n.](?:\s|$)", why, maxsplit=1)[0]
    return BackendError(
        f"no Ray cluster {what} ({first}); start one by `ray start --head`, or leave the address out to"
        " start Ray here for this run"
    )


def _cause(error: Any) -> BaseException:
    """What went wrong in a task, as if it had run here."""
    cause: BaseException = getattr(error, "cause", None) or error
    if isinstance(cause, ModuleNotFoundError):
        return BackendError(
            f"a worker of the cluster has {str(cause)[0].lower()}{str(cause)[1:]}; install the same"
            " delayline on all machines of the cluster"
        )
    return cause


def _cancel(ray: Any) -> Callable[[Any], None]:
    def cancel(reference: Any) -> None:
        ray.cancel(reference, force=False)

    return cancel
