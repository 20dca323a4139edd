"""One simulation as a process of its own, on one core: prints its times and peak memory as JSON.

``python -m benchmarks.measured_run CONFIG REQUESTS [--engine ENGINE] [--rounds N]``; the parent adds the
wall time of the whole.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import sim.kinds  # noqa: F401  (makes the kinds known)
from benchmarks import whole_process
from benchmarks.pipelines import open_workload
from benchmarks.timing import seconds
from configs.load import load_config
from policies.runlog import Outcome, RunLog
from sim.simulate import simulate


@dataclass(frozen=True, slots=True)
class Run:
    """What the process says of itself, and its wall time from outside."""

    requests: int
    draw_s: float
    simulate_s: list[float]
    summary_s: float
    simulate_peak_bytes: int
    """Of the process until the last simulation was over."""
    peak_bytes: int
    """Of all of it."""
    completed: int
    p50_ms: float
    p99_ms: float
    wall_s: float


def measured(
    config: Path,
    requests: int,
    engine: Literal["compiled", "simpy"] = "compiled",
    rounds: int = 1,
) -> Run:
    """Start the process and wait for it."""
    ended = whole_process.module(
        "benchmarks.measured_run",
        str(config),
        str(requests),
        f"--engine={engine}",
        f"--rounds={rounds}",
    )
    return Run(**json.loads(ended.output), wall_s=ended.wall_s)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("requests", type=int)
    parser.add_argument("--engine", default="compiled")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    whole_process.pin_to_one_core()
    config = load_config(asked.config, [f"workload.requests={asked.requests}"])
    simulate(load_config(asked.config, ["workload.requests=1000"]), engine=asked.engine)
    began = time.perf_counter()
    workload = open_workload(config)
    draw_s = time.perf_counter() - began
    logs: list[RunLog] = []

    def once() -> None:
        logs.clear()
        logs.append(simulate(config, workload=workload, engine=asked.engine))

    simulate_s = [seconds(once) for _ in range(asked.rounds)]
    simulate_peak_bytes = whole_process.peak_bytes()
    began = time.perf_counter()
    summary = _summary(logs[0])
    said = {
        "draw_s": draw_s,
        "simulate_s": simulate_s,
        "summary_s": time.perf_counter() - began,
        "simulate_peak_bytes": simulate_peak_bytes,
        "peak_bytes": whole_process.peak_bytes(),
        **summary,
    }
    print(json.dumps(said))


def _summary(log: RunLog) -> dict[str, Any]:
    requests = log.requests
    latency_ns = requests.ended_ns - requests.arrival_ns
    p50_ns, p99_ns = np.percentile(latency_ns, [50, 99], overwrite_input=True)
    return {
        "requests": len(requests),
        "completed": int(np.count_nonzero(requests.outcome == Outcome.COMPLETED)),
        "p50_ms": float(p50_ns) / 1e6,
        "p99_ms": float(p99_ns) / 1e6,
    }


if __name__ == "__main__":
    main()
