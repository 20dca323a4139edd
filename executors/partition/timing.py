"""How long batches of several sizes take in each part."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch
from torch import Tensor

from executors.partition.costs import limited
from executors.partition.loading import ExportedModel
from executors.replica import warm_sizes

_REPEATS = 15
_LEAST_NS = 20_000_000
"""Repeats end early where so much time has been timed."""


def sizes_up_to(batch: int) -> list[int]:
    """Batch sizes that are measured: powers of two and the largest."""
    return sorted(set(warm_sizes(batch)))


def part_times_ns(
    models: Sequence[ExportedModel],
    inputs: Mapping[str, Tensor],
    sizes: Sequence[int],
    device: str,
    threads: int,
) -> list[dict[int, float]]:
    """For each part, batch size to the median time, on inputs as the parts before put them out."""
    known = {name: tensor.to(device) for name, tensor in inputs.items()}
    times = []
    with limited(threads), torch.inference_mode():
        for model in models:
            rows = {name: known[name] for name in model.inputs}
            times.append({size: _timed(model, rows, size, device) for size in sizes})
            known.update(model(rows))
    return times


def _timed(model: ExportedModel, rows: Mapping[str, Tensor], size: int, device: str) -> float:
    batch = {name: tensor[:size] for name, tensor in rows.items()}
    return _median(lambda: model(batch), device)


def _median(run: Callable[[], object], device: str) -> float:
    cuda = torch.device(device).type == "cuda"
    times: list[int] = []
    run()
    while len(times) < _REPEATS and (len(times) < 3 or sum(times) < _LEAST_NS):
        began_ns = time.perf_counter_ns()
        run()
        if cuda:
            torch.cuda.synchronize(device)
        times.append(time.perf_counter_ns() - began_ns)
    return median(times)
