"""What each operator costs on a batch: measured, or counted without running anything."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from enum import StrEnum
from math import prod
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.utils.flop_counter import flop_registry

from executors.partition.errors import PartitionError
from executors.partition.graph import ModelGraph
from policies.partition.cost import Transfer

_PASSES = 5
_LEAST_NS = 100_000
"""An operator is repeated within a pass until so much time is timed, within reason."""
_MOST_REPEATS = 10
_COPIES = 1.5
"""Copies on each side of a tensor that passes: the worker's out of its memory and the dispatcher's in and
out of its tables are three, for two sides.
"""
FLOPS_PER_NS = 10.0
"""What ``count`` takes a core to do: 10 GFLOP/s."""


class CostKind(StrEnum):
    """Where the costs of operators come from."""

    MEASURE = "measure"
    """The median of timed runs on this machine."""
    COUNT = "count"
    """Floating-point operations of matrix products and convolutions, and one for each element that any
    other operator puts out, at 10 GFLOP/s."""


def measured_ns(graph: ModelGraph, device: str, threads: int) -> list[float]:
    """The median time of each node on the example batch, on ``device`` with so many threads.

    Raises PartitionError for a GPU that is not there.
    """
    found = torch.device(device)
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise PartitionError(
            f"there is no {device} to measure on, torch sees {torch.cuda.device_count()} GPUs here;"
            " partition on a machine that has it, or with --cost count"
        )
    with limited(threads), torch.inference_mode():
        timed = _Timed(graph, device)
        inputs = graph.captured.examples.values()
        for _ in range(_PASSES):
            timed.run(*_arguments(graph, inputs, device))
    return [median(timed.times_ns[node.name]) for node in graph.nodes]


def counted_ns(graph: ModelGraph) -> list[float]:
    """Each node's operations, as time at ``FLOPS_PER_NS``."""
    rows = len(next(iter(graph.captured.examples.values())))
    return [_flops(node, rows) / FLOPS_PER_NS for node in graph.nodes]


def transfer_of(hop_ns: float, cost: CostKind) -> Transfer:
    """What passing costs: the hop as told, bytes as this machine copies them (1 ns for 4 where counted)."""
    if cost is CostKind.COUNT:
        return Transfer(hop_ns, 0.25 * _COPIES)
    source = np.ones(4 * 1024 * 1024, np.uint8)
    target = np.zeros_like(source)
    times = []
    for _ in range(_PASSES + 1):
        began_ns = time.perf_counter_ns()
        np.copyto(target, source)
        times.append(time.perf_counter_ns() - began_ns)
    return Transfer(hop_ns, _COPIES * median(times[1:]) / source.nbytes)


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """So many threads of torch within."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Timed(fx.Interpreter):
    """Runs the graph and times each node that works on requests."""

    def __init__(self, graph: ModelGraph, device: str) -> None:
        super().__init__(graph.captured.program.graph_module)
        self.times_ns: dict[str, list[float]] = {node.name: [] for node in graph.nodes}
        self._device = torch.device(device)

    def run_node(self, n: fx.Node) -> Any:
        """The node's value; repeats what is quick."""
        result = super().run_node(n)
        if n.name not in self.times_ns:
            return result.to(self._device) if isinstance(result, Tensor) else result
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        target: Any = n.target
        took_ns, repeats = 0, 0
        while repeats < _MOST_REPEATS and took_ns < _LEAST_NS:
            self._settle()
            began_ns = time.perf_counter_ns()
            result = target(*args, **kwargs)
            self._settle()
            took_ns += time.perf_counter_ns() - began_ns
            repeats += 1
        self.times_ns[n.name].append(took_ns / repeats)
        return result

    def _settle(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _arguments(graph: ModelGraph, inputs: Any, device: str) -> list[Tensor]:
    """Weights and inputs in the order of the graph's placeholders."""
    weights = [tensor for _, tensor in graph.captured.weights.values()]
    return [tensor.to(device) for tensor in (*weights, *inputs)]


def _flops(node: fx.Node, rows: int) -> float:
    """Floating-point operations of a node, and at least one for each element that it puts out."""
    values = _sized(node.meta.get("val"), rows)
    elements = sum(prod(shape) for shape in values)
    target: Any = node.target
    packet = getattr(target, "overloadpacket", None)
    if packet is torch.ops.aten.linear:
        weight = _sized(node.args[1].meta["val"], rows)[0]  # type: ignore[union-attr]
        return float(2 * elements * weight[-1])
    if packet not in flop_registry:
        return float(elements)
    args = fx.map_arg(node.args, lambda each: _stand_in(each, rows))
    kwargs = fx.map_arg(node.kwargs, lambda each: _stand_in(each, rows))
    out = tuple(torch.empty(shape, device="meta") for shape in values)
    counted = flop_registry[packet](*args, **kwargs, out_val=out[0] if len(out) == 1 else out)
    return float(max(counted, elements))


def _stand_in(node: fx.Node, rows: int) -> Any:
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        return torch.empty(_sized(value, rows)[0], dtype=value.dtype, device="meta")
    return _number(value, rows) if isinstance(value, torch.SymInt) else value


def _sized(value: Any, rows: int) -> list[tuple[int, ...]]:
    """Shapes of a value or of several, for so many rows."""
    if isinstance(value, Tensor):
        return [tuple(_number(size, rows) for size in value.shape)]
    if isinstance(value, tuple | list):
        return [shape for each in value for shape in _sized(each, rows)]
    return []


def _number(size: Any, rows: int) -> int:
    """A size for so many rows; what depends on the data counts as the rows."""
    if not isinstance(size, torch.SymInt):
        return int(size)
    expression = size.node.expr
    found: Mapping[Any, int] = dict.fromkeys(expression.free_symbols, rows)
    return int(expression.subs(found))
