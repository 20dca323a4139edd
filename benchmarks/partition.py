"""What it brings to cut a model into parallel branches, and how good the cuts are.

A DLRM of four equal towers, each request with many candidates, is run through the executor in three
forms: whole on one core, whole with two threads on two cores, and in three parts, of which two hold two
towers each and run side by side on a core each. One client sends a request, waits for its answer, and
sends the next. The forms take turns, so that slow spells of the machine meet all of them. Then 200
random graphs are cut, and held against the best of all their cuts.

Run: ``python -m benchmarks.partition`` (two cores are used; a minute). With ``--realtime``, which takes
root, workers and dispatcher have real-time priority while they are timed, for a machine that does other
work too.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from delayline import load_config
from delayline.partitioned import deploy, parse_device, pipeline_yaml
from delayline.real import brought_up
from executors.executor import Executor
from executors.partition.costs import limited
from executors.partition.loading import load_model
from executors.partition.partition import Partition, PartitionPlan, analyse, choose, partition
from executors.placement import available_cores
from policies.partition.choices import Goal, Strategy
from policies.partition.cuts import cut
from policies.workload import ClosedWorkload
from tests.partition_graphs import best_of_all, random_graph, random_transfer

BRANCHES = 4
LOOKUPS = 10
ITEMS = 20_000
WIDE = (64, 512, 256, 64)
"""Widths of a tower of few large layers, which two threads share well."""
DEEP = (64, *[192] * 16, 64)
"""Widths of a tower of many small layers, which two threads share less well."""
ROUNDS = 4
REQUESTS = 25
GRAPHS = 200


class Dlrm(nn.Module):
    """Naumov et al. 2019, with towers over the embeddings; scores (rows, candidates)."""

    first: Tensor
    second: Tensor

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(ITEMS, widths[0]) for _ in range(BRANCHES))
        self.towers = nn.ModuleList(
            nn.Sequential(
                *(
                    layer
                    for ins, outs in pairwise(widths)
                    for layer in (nn.Linear(ins, outs), nn.ReLU())
                )
            )
            for _ in range(BRANCHES)
        )
        pairs = torch.tril_indices(BRANCHES, BRANCHES, -1)
        self.register_buffer("first", pairs[0])
        self.register_buffer("second", pairs[1])
        self.top = nn.Sequential(nn.Linear(pairs.shape[1], 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, candidates: Tensor) -> Tensor:
        """Features (rows, candidates, branches, lookups) to scores (rows, candidates)."""
        vectors = [
            tower(table(candidates[:, :, place]).mean(dim=2))
            for place, (table, tower) in enumerate(zip(self.tables, self.towers, strict=True))
        ]
        stacked = torch.stack(vectors, dim=2)
        products = torch.matmul(stacked, stacked.transpose(2, 3))[:, :, self.first, self.second]
        return torch.sigmoid(self.top(products)).squeeze(2)


def made(widths: Sequence[int], candidates: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model and its example inputs (rows, candidates, branches, lookups)."""
    torch.manual_seed(0)
    inputs = torch.randint(0, ITEMS, (2, candidates, BRANCHES, LOOKUPS))
    return Dlrm(widths), (inputs,)


def wide() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """512 candidates a request."""
    return made(WIDE, 512)


def deep() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """128 candidates a request."""
    return made(DEEP, 128)


@dataclass(frozen=True, slots=True)
class Form:
    """A way to run the model, brought up."""

    name: str
    found: Partition
    executor: Executor


def written(
    model: str, folder: Path, plan: PartitionPlan, devices: list[str]
) -> tuple[Path, Partition]:
    """The model in parts, and the pipeline that runs them."""
    analysis = analyse(f"benchmarks.partition:{model}", plan)
    folder.mkdir()
    found = partition(analysis, choose(analysis, plan), plan, folder)
    specs = [parse_device(device) for device in devices]
    deployment = deploy(found, specs, None, len(available_cores()))
    path = folder / "pipeline.yaml"
    path.write_text(pipeline_yaml(folder.name, path.name, found, plan, deployment))
    return path, found


@contextmanager
def urgent(form: Form) -> Iterator[None]:
    """The form's workers, and this process above them, at real-time priority within."""
    workers = [replica.pid for row in form.executor._replicas for replica in row]
    _schedule([*workers], os.SCHED_RR, 10)
    _schedule([os.getpid()], os.SCHED_RR, 20)
    try:
        yield
    finally:
        _schedule([os.getpid(), *workers], os.SCHED_OTHER, 0)


def _schedule(processes: list[int], policy: int, priority: int) -> None:
    for process in processes:
        for thread in os.listdir(f"/proc/{process}/task"):
            with suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread), policy, os.sched_param(priority))


def alone_ms(folder: Path, part: str) -> float:
    """The quickest of some runs of a part by itself, on one request and one thread."""
    model = load_model(folder / f"{part}.pt2", "cpu")
    batch = {
        name: torch.ones((1, *spec.shape), dtype=getattr(torch, spec.dtype))
        for name, spec in model.inputs.items()
    }
    took_ns = []
    with limited(1), torch.inference_mode():
        for _ in range(REQUESTS):
            began_ns = time.perf_counter_ns()
            model(batch)
            took_ns.append(time.perf_counter_ns() - began_ns)
    return min(took_ns) / 1e6


def latencies_ms(form: Form) -> list[float]:
    """Of requests one after another."""
    ones = np.ones(REQUESTS, np.int64)
    workload = ClosedWorkload(1, 0 * ones, ones, np.zeros(REQUESTS, np.int8))
    log = form.executor.run(workload, pipeline=form.executor.pipeline, keep_answers=False).log
    took = log.requests.ended_ns - log.requests.arrival_ns
    return list(took[2:] / 1e6)


def print_forms(model: str, realtime: bool) -> None:
    """Latency of the three forms, the ideal, and what passing from part to part costs."""
    cores = available_cores()[:2]
    if len(cores) < 2:
        raise SystemExit("two cores are needed")
    one, two = f"cpu:{cores[0]}", f"cpu:{cores[1]}"
    both = f"cpu:{cores[0]},{cores[1]}"
    whole = PartitionPlan(stages=1, batch=2)
    towers = ("towers.0,towers.1", "towers.2,towers.3")
    parallel = PartitionPlan(strategy=Strategy.MANUAL, cuts=towers, goal=Goal.LATENCY, batch=2)
    asked = {
        "whole, one thread": (whole, [one]),
        "whole, two threads": (whole, [both]),
        "two branches beside two": (parallel, [one, two]),
    }
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        forms = []
        for number, (name, (plan, devices)) in enumerate(asked.items()):
            path, found = written(model, Path(scratch) / f"form{number}", plan, devices)
            config = load_config(path, [f"dispatcher.cores=[{cores[1]}]"])
            forms.append(Form(name, found, stack.enter_context(brought_up(config))))
        times: dict[str, list[float]] = {form.name: [] for form in forms}
        for form in forms:
            latencies_ms(form)
        for _ in range(ROUNDS):
            for form in forms:
                with urgent(form) if realtime else nullcontext():
                    times[form.name] += latencies_ms(form)
        alone = [alone_ms(Path(scratch) / "form2", part.name) for part in forms[-1].found.parts]
    whole_ms = float(np.median(times["whole, one thread"]))
    print(f"{model} DLRM of {BRANCHES} towers, one request at a time")
    for name, taken in times.items():
        p50, p90 = np.percentile(taken, (50, 90))
        ratio = p50 / whole_ms
        print(f"  {name:<24} p50 {p50:7.2f} ms   p90 {p90:7.2f} ms   {ratio:5.2f} of one thread")
    found = forms[-1].found
    path_ms = max(alone[0], alone[1]) + alone[2]
    parallel_ms = float(np.median(times["two branches beside two"]))
    moved_kb = sum(found.cut.costs.in_bytes) / 2 / 1e3
    each = ", ".join(f"{ms:.2f}" for ms in alone)
    print(f"  ideal {max(alone) / sum(alone):.2f}; parts by themselves {each} ms")
    print(
        f"  passing {moved_kb:.0f} kB over two hops costs {parallel_ms - path_ms:.2f} ms beyond the"
        f" longest way of {path_ms:.2f} ms"
    )


def print_cuts() -> None:
    """How far cuts of random graphs lie from the best of all cuts."""
    rng = np.random.default_rng(1)
    over, exact = [], 0
    for _ in range(GRAPHS):
        graph = random_graph(rng, int(rng.integers(4, 15)), float(rng.choice([0.15, 0.25, 0.4])))
        parts, transfer = int(rng.integers(2, 4)), random_transfer(rng)
        found = cut(graph, parts, Goal.THROUGHPUT, transfer)
        best_ns = best_of_all(graph, parts, transfer, Goal.THROUGHPUT)
        over.append(found.value_ns / best_ns - 1)
        exact += found.exact
    print(
        f"{GRAPHS} random graphs of 4 to 14 nodes: at most {100 * max(over):.2f}% above the best of all"
        f" cuts, {exact} proved the best"
    )


if __name__ == "__main__":
    for model in ("wide", "deep"):
        print_forms(model, "--realtime" in sys.argv[1:])
    print_cuts()
