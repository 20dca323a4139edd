"""A fleet: four stages of a thousand replicas, a million requests a second for a minute."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.measured_run import measured
from benchmarks.pipelines import FLEET
from benchmarks.table import Measured, Row

REQUESTS = 60_000_000
MOST_S = 15.0
MOST_GB = 6.0


def measure() -> Measured:
    """The run as a whole process on one core, drawing and summary included."""
    run = measured(FLEET, REQUESTS)
    if run.completed != REQUESTS:
        raise RuntimeError(f"{run.completed:,} of {REQUESTS:,} requests completed")
    rows = (
        Row(
            "fleet of 4 x 1,000 replicas, 1 M requests/s for 60 s, whole process",
            f"{run.wall_s:.1f} s (draws {run.draw_s:.1f}, simulates {run.simulate_s[0]:.1f},"
            f" sums up {run.summary_s:.1f})",
            f"at most {MOST_S:g} s",
            run.wall_s <= MOST_S,
        ),
        Row(
            "fleet, peak memory",
            f"{run.peak_bytes / 1e9:.2f} GB",
            f"at most {MOST_GB:g} GB",
            run.peak_bytes <= MOST_GB * 1e9,
        ),
        Row("fleet, latency", f"p50 {run.p50_ms:.1f} ms, p99 {run.p99_ms:.1f} ms"),
    )
    return Measured(rows, asdict(run))
