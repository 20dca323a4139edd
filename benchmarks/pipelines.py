"""The pipelines that are timed."""

from __future__ import annotations

from pathlib import Path

import sim.kinds  # noqa: F401  (makes the kinds known)
from benchmarks.queueing import erlang_c_wait
from configs.load import load_config, parse_config
from configs.model import Config
from policies.workload import Workload
from sim.simulate import workload_of

ROOT = Path(__file__).resolve().parents[1]
PIPELINE4 = ROOT / "configs" / "pipeline4.yaml"
FLEET = ROOT / "benchmarks" / "fleet.yaml"

TANDEM_STAGES = 4
TANDEM_SERVERS = 4
TANDEM_RATE_HZ = 3000.0
TANDEM_MEAN_S = 0.001


def pipeline4(requests: int) -> Config:
    """The four-stage pipeline of the benchmark."""
    return load_config(PIPELINE4, [f"workload.requests={requests}"])


def tandem(requests: int) -> Config:
    """Four M/M/4 queues one after another, at a utilization of 0.75: what queueing packages can do too."""
    stage = {
        "replicas": TANDEM_SERVERS,
        "max_batch": 1,
        "service": {"kind": "exponential", "mean": f"{TANDEM_MEAN_S * 1e3}ms"},
        "policy": {"kind": "immediate"},
    }
    return parse_config(
        {
            "name": "tandem",
            "seed": 1,
            "workload": {
                "arrivals": {"kind": "poisson", "rate": f"{TANDEM_RATE_HZ}/s"},
                "requests": requests,
            },
            "stages": [{"name": f"queue{number}", **stage} for number in range(TANDEM_STAGES)],
        }
    )


def tandem_latency_s() -> float:
    """The tandem's mean latency by theory: by Burke's theorem each queue is an M/M/4 of its own."""
    wait_s = erlang_c_wait(TANDEM_RATE_HZ, 1 / TANDEM_MEAN_S, TANDEM_SERVERS)
    return TANDEM_STAGES * (wait_s + TANDEM_MEAN_S)


def chain(stages: int, replicas: int, requests: int) -> Config:
    """So many stages like those of the four-stage pipeline, at the same load whatever ``replicas`` is."""
    stage = {
        "replicas": replicas,
        "max_batch": 32,
        "service": {"kind": "affine", "base": "1ms", "per_request": "50us"},
        "policy": {"kind": "fixed", "delay": "2ms"},
    }
    return parse_config(
        {
            "name": "chain",
            "seed": 1,
            "workload": {
                "arrivals": {"kind": "poisson", "rate": f"{10_000 * replicas}/s"},
                "requests": requests,
            },
            "stages": [{"name": f"stage{number}", **stage} for number in range(stages)],
        }
    )


def open_workload(config: Config) -> Workload:
    """The configured requests, drawn ahead of what is timed."""
    workload = workload_of(config)
    if not isinstance(workload, Workload):
        raise TypeError(f"{config.name}: the benchmarks' workloads are open")
    return workload
