"""The command line from nothing: one simulation as a whole process, compiled code already on disk."""

from __future__ import annotations

from benchmarks import whole_process
from benchmarks.table import Measured, Row
from benchmarks.timing import Spread

COMMAND = ("simulate", "configs/pipeline4.yaml", "--set", "workload.requests=200000")
TIMES = 7
MOST_S = 1.0


def measure() -> Measured:
    """Wall time of ``delayline simulate``."""
    first = whole_process.delayline(*COMMAND)
    if "on compiled" not in first.output:
        raise RuntimeError(f"the compiled driver did not run:\n{first.output}")
    took_s = Spread.of([whole_process.delayline(*COMMAND).wall_s for _ in range(TIMES)])
    row = Row(
        "cold start: delayline simulate, 200,000 requests, whole process",
        f"{took_s.median:.2f} s ({took_s.min:.2f} to {took_s.max:.2f})",
        f"at most {MOST_S:g} s",
        took_s.median <= MOST_S,
    )
    return Measured((row,), {"seconds": took_s.as_dict()})
