"""All speed and memory figures of the simulator, in one run: ``python -m benchmarks.run`` or ``make bench``.

Prints a table and writes ``benchmarks/results/simulator.json``. Ratios are of runs in turn (A B A B ...),
so that they hold on a machine whose speed drifts.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import sim.kinds  # noqa: F401  (makes the kinds known)
from benchmarks import idiomatic
from configs.load import load_config
from configs.model import Config
from policies.fixed import Fixed
from policies.workload import Workload
from sim.service.base import ServiceModel
from sim.simulate import simulate, workload_of

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = ROOT / "configs" / "pipeline4.yaml"
RESULTS = ROOT / "benchmarks" / "results"


def pipeline4(requests: int) -> Config:
    """The four-stage pipeline of the benchmark."""
    return load_config(PIPELINE, [f"workload.requests={requests}"])


def settings(config: Config) -> list[idiomatic.StageSetting]:
    """The same pipeline for the textbook model."""
    found = []
    for stage in config.stages:
        if not isinstance(stage.policy, Fixed):
            raise TypeError(f"the textbook model knows fixed holds only, not {stage.policy}")
        model: ServiceModel = stage.service

        def service_ns(requests: int, model: ServiceModel = model) -> int:
            return round(model.expected_ns(requests, requests))

        found.append(
            idiomatic.StageSetting(
                stage.replicas, stage.max_batch, stage.policy.delay_ns, service_ns
            )
        )
    return found


def against_textbook(requests: int, pairs: int) -> dict[str, object]:
    """Throughput of the driver and of the textbook model in turn, and whether completions agree."""
    config = pipeline4(requests)
    workload = workload_of(config)
    if not isinstance(workload, Workload):
        raise TypeError("the benchmark's workload is open")
    theirs = settings(config)
    ours_rps, theirs_rps = [], []
    for _ in range(pairs):
        began = time.perf_counter()
        log = simulate(config, workload=workload)
        middle = time.perf_counter()
        completed_ns = idiomatic.run(workload.arrival_ns, theirs)
        end = time.perf_counter()
        ours_rps.append(requests / (middle - began))
        theirs_rps.append(requests / (end - middle))
    ratios = [ours / their for ours, their in zip(ours_rps, theirs_rps, strict=True)]
    return {
        "requests": requests,
        "pairs": pairs,
        "driver_rps": statistics.median(ours_rps),
        "textbook_rps": statistics.median(theirs_rps),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "equal_completions": bool(np.array_equal(log.requests.ended_ns, completed_ns)),
    }


def memory(config: str, requests: int) -> dict[str, object]:
    """Bytes a request: how much more a run of many requests peaks at than one of few, as whole processes."""
    few = requests // 10
    peaks = []
    for count in (few, requests):
        command = [sys.executable, "-m", "benchmarks.run", "--peak", config, str(count)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    return {
        "config": config,
        "requests": requests,
        "bytes_per_request": (peaks[1] - peaks[0]) / (requests - few),
        "peak_mb": peaks[1] / 1e6,
    }


def peak(config: str, requests: int) -> None:
    """Run and print the process's peak memory in bytes."""
    simulate(load_config(ROOT / "configs" / config, [f"workload.requests={requests}"]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--peak", nargs=2, metavar=("CONFIG", "REQUESTS"))
    asked = parser.parse_args()
    if asked.peak:
        peak(asked.peak[0], int(asked.peak[1]))
        return
    textbook = against_textbook(asked.requests, asked.pairs)
    kept = [memory(config, 5 * asked.requests) for config in ("pipeline4.yaml", "mm1.yaml")]
    print(f"four stages, {asked.requests:,} requests, one core, median of {asked.pairs} pairs")
    print(f"  SimPy driver             {textbook['driver_rps']:>12,.0f} requests/s")
    print(f"  one process per request  {textbook['textbook_rps']:>12,.0f} requests/s")
    print(
        f"  ratio                    {textbook['ratio']:>12.2f}"
        f"  ({textbook['ratio_min']:.2f} to {textbook['ratio_max']:.2f}); at least 5"
    )
    print(f"  completion times equal   {textbook['equal_completions']!s:>12}")
    for each in kept:
        print(
            f"memory, {each['config']}, {each['requests']:,} requests:"
            f" {each['bytes_per_request']:.0f} bytes a request; under 200"
        )
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / "simulator.json"
    target.write_text(json.dumps({"textbook": textbook, "memory": kept}, indent=2) + "\n")
    print(f"written to {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
