"""A worker process as its owner holds it: start it, give it memory, run batches on it, end it."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from multiprocessing import reduction, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from executors.merging import Joined
from executors.slab import Columns, Layout, Slab
from executors.wiring import ModelSpecs
from executors.worker import Job, Reply, order, serve

_SPAWN = multiprocessing.get_context("spawn")
"""A fresh interpreter: a forked copy of a process with threads and torch in it is not safe."""
_GRACE_S = 2.0


class WorkerError(RuntimeError):
    """A worker could not start, load its model, or warm up; names the stage and says why."""


class ModelError(WorkerError, ValueError):
    """A stage's model cannot be loaded from what its configuration names; says which stage, and why."""


class Replica:
    """One replica. The same object and the same memory outlive the process that serves it.

    The order is :meth:`launch`, :meth:`loaded`, :meth:`attach`, then batches; a process that died is
    replaced by :meth:`revive`, and :meth:`close` ends all.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.slab: Slab | None = None
        self._joined: Joined | None = None
        self.warm_inputs: Columns = {}
        """Inputs that are good for running a batch of the full size."""
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None

    @property
    def pipe(self) -> Connection:
        """The connection to the process that serves now."""
        if self._pipe is None:
            raise WorkerError(f"stage {self.job.stage}: the worker is not running")
        return self._pipe

    @property
    def pid(self) -> int:
        """The process that serves now."""
        pid = self._process.pid if self._process else None
        if pid is None:
            raise WorkerError(f"stage {self.job.stage}: the worker is not running")
        return pid

    @property
    def memory(self) -> Slab:
        """The replica's shared memory."""
        if self.slab is None:
            raise WorkerError(f"stage {self.job.stage}: the worker has no memory yet")
        return self.slab

    def launch(self) -> None:
        """Start a process; it begins to load its model."""
        self._pipe, theirs = _SPAWN.Pipe()
        with theirs, _interrupts_held():
            self._process = _SPAWN.Process(
                target=serve,
                args=(self.job, theirs),
                name=f"delayline-{self.job.stage}",
                daemon=True,
            )
            self._process.start()

    def loaded(self) -> ModelSpecs:
        """Wait for the model; what it takes and gives. Raises ModelError, WorkerError."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            raise self._died("while it loaded its model") from None
        if isinstance(answer, ModelSpecs):
            return answer
        raise ModelError(f"stage {self.job.stage}: its model cannot be loaded: {answer}")

    def attach(self, layout: Layout, joined: Joined | None) -> None:
        """Give the process the replica's memory, which is made at the first time, and its merge."""
        if self.slab is None:
            self.slab = Slab(layout)
        self._joined = joined
        try:
            self.pipe.send((self.slab.layout, joined))
            reduction.send_handle(self.pipe, self.slab.fd, self.pid)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            raise self._died("before it could serve") from None

    def warm_up(self) -> None:
        """Run batches of several sizes, and one at each cheaper level, on inputs that are good for it.
        Raises WorkerError.
        """
        for name, rows in self.warm_inputs.items():
            self.memory.inputs[name][...] = rows
        for size in warm_sizes(self.memory.layout.rows):
            self.run(size)
        for level in range(1, len(self.job.levels) + 1):
            self.run(self.memory.layout.rows, level)

    def run(self, requests: int, level: int = 0) -> Reply:
        """Run a batch that lies in memory, and wait for it. Raises WorkerError."""
        try:
            self.send(requests, level)
            reply = self.receive()
        except (EOFError, OSError):
            raise self._died(f"on a warm-up batch of {requests}") from None
        if reply.error:
            raise WorkerError(
                f"stage {self.job.stage}: its model fails on a warm-up batch of {requests}"
                f"{f' at level {level}' if level else ''}: {reply.error}"
            )
        return reply

    def send(self, requests: int, level: int) -> None:
        """Start a batch that lies in memory. Raises OSError where the process is gone."""
        self.pipe.send_bytes(order(requests, level))

    def receive(self) -> Reply:
        """The end of the batch. Raises EOFError or OSError where the process is gone."""
        return Reply.unpack(self.pipe.recv_bytes())

    def revive(self) -> None:
        """Replace a process that died. Raises WorkerError."""
        self.end()
        self.launch()
        self.loaded()
        self.attach(self.memory.layout, self._joined)
        self.warm_up()

    def kill(self) -> None:
        """End the process at once; whoever waits on the pipe learns of it."""
        process = self._process
        # Another thread that is replacing the process may have closed it already.
        if process is not None:
            with contextlib.suppress(ValueError):
                process.kill()

    def hang_up(self) -> None:
        """Let the process end by itself."""
        if self._pipe is not None:
            self._pipe.close()

    def end(self) -> None:
        """End the process, by force if it does not go, and wait until it has gone."""
        self.hang_up()
        process, self._process, self._pipe = self._process, None, None
        if process is None:
            return
        process.join(_GRACE_S)
        if process.exitcode is None:
            process.kill()
            process.join()
        process.close()

    def close(self) -> None:
        """End the process and give up the memory."""
        self.end()
        if self.slab is not None:
            self.slab.close()
            self.slab = None

    def _died(self, when: str) -> WorkerError:
        code = None
        if self._process is not None:
            self._process.join(_GRACE_S)
            code = self._process.exitcode
        return WorkerError(f"stage {self.job.stage}: its worker died {when} (exit code {code})")


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until a process is started, which then never gets any.

    Ctrl-C goes to the whole foreground group; it is the owner who ends its workers. A mask is passed
    on to the process that is started, so that it holds from its first instruction.
    """
    # Starting the tracker would lift the mask.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def warm_sizes(max_batch: int) -> Iterator[int]:
    """Batch sizes to warm up with: powers of two, then the largest, twice."""
    size = 1
    while size < max_batch:
        yield size
        size *= 2
    yield max_batch
    yield max_batch


def close_all(replicas: Sequence[Replica]) -> None:
    """End several replicas together, so that they take as long as the slowest."""
    for replica in replicas:
        replica.hang_up()
    for replica in replicas:
        replica.close()
