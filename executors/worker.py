"""A worker process: one replica's model, run on batches that lie in shared memory.

The owner speaks first over a pipe. To load: nothing need be sent, the worker answers with what the
model takes and gives. Then the layout of the memory, the merge if there is one, and the descriptor; then,
for every batch, the number of requests and the level to run it at (see :func:`order`), answered by a
:class:`Reply`. A closed pipe ends the worker.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import select
import struct
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple

from executors.levels import Cheaper, models_at
from executors.merging import Joined
from executors.placement import Place
from executors.realtime import keep_freed_memory, pin_this_thread
from executors.slab import Columns, Layout
from executors.stage_model import ModelSource, StageModel, TensorSpec
from executors.wiring import ModelSpecs

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor]

_ORDER = struct.Struct("<IB")
_REPLY = struct.Struct("<qqq")
_IDLE_S = 0.1
"""After so long without a batch the worker collects garbage."""
_TEXT_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to be."""

    stage: str
    source: ModelSource
    keep: int | None
    place: Place
    levels: tuple[Cheaper, ...] = ()
    """From level 1 on."""


def order(requests: int, level: int) -> bytes:
    """The message that has a batch of so many requests run at a level."""
    return _ORDER.pack(requests, level)


class Reply(NamedTuple):
    """The end of a batch. Times are of the system's monotonic clock, the same in every process."""

    started_ns: int
    finished_ns: int
    compute_ns: int
    """Time in the model: by the GPU's own events on CUDA, by the clock elsewhere."""
    error: str
    """Why the model could not run the batch; empty if it did."""

    def pack(self) -> bytes:
        """As it goes over the pipe."""
        return _REPLY.pack(*self[:3]) + self.error.encode()

    @staticmethod
    def unpack(message: bytes) -> Reply:
        """As it comes out of the pipe."""
        started_ns, finished_ns, compute_ns = _REPLY.unpack_from(message)
        return Reply(started_ns, finished_ns, compute_ns, message[_REPLY.size :].decode())


def describe(error: BaseException) -> str:
    """An exception in one short line; what this package raises says enough without its class."""
    text = " ".join(str(error).split())[:_TEXT_LIMIT]
    if text and type(error).__module__.startswith("executors."):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def serve(job: Job, pipe: Connection) -> None:
    """The life of a worker process."""
    pin_this_thread(job.place.cores)
    keep_freed_memory()
    with pipe, contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            models = _load(job)
            specs = ModelSpecs(dict(models[0].inputs), dict(models[0].outputs))
        except Exception as error:
            pipe.send(describe(error))
            return
        pipe.send(specs)
        layout: Layout
        joined: Joined | None
        layout, joined = pipe.recv()
        fd = reduction.recv_handle(pipe)
        memory = mmap.mmap(fd, layout.size_bytes)
        os.close(fd)
        _run_batches(pipe, _runner(job, models, layout, joined, memory))


Run = Callable[[int, int], Reply]
"""Runs a batch of so many requests at a level."""


def _load(job: Job) -> list[StageModel]:
    """The models by level."""
    import torch

    gpus = torch.cuda.device_count()
    if job.place.cuda is not None and job.place.cuda >= gpus:
        raise ValueError(f"there is no {job.place.torch_device}; torch sees {gpus} GPUs here")
    torch.set_num_threads(job.place.threads)
    torch.set_num_interop_threads(1)
    device = job.place.torch_device
    return models_at(job.source.load(device, job.keep), job.levels, device, job.keep)


def _runner(
    job: Job,
    models: Sequence[StageModel],
    layout: Layout,
    joined: Joined | None,
    memory: mmap.mmap,
) -> Run:
    import torch

    taken, given = layout.views(memory)
    inputs = feed(taken, models[0].inputs, joined)
    outputs = {name: torch.from_numpy(array) for name, array in given.items()}
    if job.place.cuda is None:
        return _on_cpu(models, layout, inputs, outputs)
    _pin(memory, layout.size_bytes)
    return _on_cuda(job, models, layout, inputs, outputs)


Feed = Callable[[int], "Tensors"]
"""Gives a model's inputs of the first so many requests."""


def feed(columns: Columns, names: Collection[str], joined: Joined | None) -> Feed:
    """The inputs of these names as they lie in the columns, or merged of them where a merge makes them."""
    import torch

    made = {} if joined is None else joined.gives
    straight = {name: torch.from_numpy(columns[name]) for name in names if name not in made}

    def of(requests: int) -> Tensors:
        batch = {name: tensor[:requests] for name, tensor in straight.items()}
        if joined is not None:
            merged = joined.merged({name: column[:requests] for name, column in columns.items()})
            batch.update({name: torch.from_numpy(array) for name, array in merged.items()})
        return batch

    return of


def _run_batches(pipe: Connection, run: Run) -> None:
    """Answer the owner until it hangs up. Garbage is collected between batches only."""
    gc.collect()
    gc.freeze()
    gc.disable()
    worked = False
    while True:
        if worked and not select.select([pipe], [], [], _IDLE_S)[0]:
            gc.collect()
            worked = False
        requests, level = _ORDER.unpack(pipe.recv_bytes())
        pipe.send_bytes(run(requests, level).pack())
        worked = True


def _on_cpu(models: Sequence[StageModel], layout: Layout, inputs: Feed, outputs: Tensors) -> Run:
    import torch

    def run(requests: int, level: int) -> Reply:
        started_ns = time.monotonic_ns()
        error = ""
        try:
            with torch.inference_mode():
                result = models[level](inputs(requests))
                for name, tensor in _checked(result, layout.outputs, requests).items():
                    outputs[name][:requests].copy_(tensor)
        except Exception as raised:
            error = describe(raised)
        finished_ns = time.monotonic_ns()
        return Reply(started_ns, finished_ns, finished_ns - started_ns, error)

    return run


def _on_cuda(
    job: Job, models: Sequence[StageModel], layout: Layout, inputs: Feed, outputs: Tensors
) -> Run:
    """Copies and kernels go to a stream of the replica's own; the host waits for its last event."""
    import torch

    device = torch.device(job.place.torch_device)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def run(requests: int, level: int) -> Reply:
        started_ns = time.monotonic_ns()
        error = ""
        compute_ns = 0
        try:
            with torch.inference_mode(), torch.cuda.stream(stream):
                batch = {
                    name: tensor.to(device, non_blocking=True)
                    for name, tensor in inputs(requests).items()
                }
                begin.record(stream)
                result = models[level](batch)
                end.record(stream)
                for name, tensor in _checked(result, layout.outputs, requests).items():
                    outputs[name][:requests].copy_(tensor, non_blocking=True)
            stream.synchronize()
            compute_ns = int(begin.elapsed_time(end) * 1e6)
        except Exception as raised:
            error = describe(raised)
            # A fault of the GPU spoils the whole process: this raises again, the worker ends, and
            # its owner takes it for lost and starts another.
            torch.cuda.synchronize(device)
        return Reply(started_ns, time.monotonic_ns(), compute_ns, error)

    return run


def _pin(memory: mmap.mmap, size_bytes: int) -> None:
    """Register shared memory as pinned, so that copies from and to it need no staging."""
    import numpy as np
    import torch

    address = np.frombuffer(memory, np.uint8).ctypes.data
    torch.cuda.check_error(torch.cuda.cudart().cudaHostRegister(address, size_bytes, 0))  # type: ignore[no-untyped-call, unused-ignore]


def _checked(result: Tensors, specs: Mapping[str, TensorSpec], requests: int) -> Tensors:
    """The result, if it is what the model said it would put out; else ValueError."""
    for name, spec in specs.items():
        if name not in result:
            raise ValueError(f"the model put out no {name!r}; it put out: {', '.join(result)}")
        shape = tuple(result[name].shape)
        if shape != (requests, *spec.shape):
            raise ValueError(
                f"the model put out {name!r} of shape {shape}, not {(requests, *spec.shape)}"
            )
    return {name: result[name] for name in specs}
