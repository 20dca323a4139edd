"""Planning the four-stage pipeline by ``delayline plan``, as a whole process on all cores."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import whole_process
from benchmarks.table import Measured, Row

CONFIG = "configs/pipeline4.yaml"
RATES = ("5000/s", "50000/s")
"""As shipped, where a replica of each stage is enough, and ten times that."""
MOST_S = 60.0


def measure() -> Measured:
    """Wall time for each rate, and what was planned."""
    rows: list[Row] = []
    data: dict[str, Any] = {}
    for rate in RATES:
        ended = whole_process.delayline("plan", CONFIG, "--rate", rate, "--json", "--quiet")
        found = json.loads(ended.output)
        stages = found["plan"]["stages"].values()
        replicas = " + ".join(str(stage["replicas"]) for stage in stages)
        rows.append(
            Row(
                f"delayline plan {CONFIG} --rate {rate}, whole process, all cores",
                f"{ended.wall_s:.1f} s, finds {replicas} replicas",
                f"under {MOST_S:g} s",
                ended.wall_s < MOST_S,
            )
        )
        data[rate] = {"wall_s": ended.wall_s, "plan": found["plan"], "p99_ms": found["p99_ms"]}
    return Measured(tuple(rows), data)
