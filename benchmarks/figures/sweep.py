"""A thousand settings of the four-stage pipeline by ``delayline sweep``, on two threads."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks import whole_process
from benchmarks.table import Measured, Row

CANDIDATES = 1_000
REQUESTS = 200_000
MOST_S = 15.0
COMMAND = (
    "sweep",
    "configs/pipeline4.yaml",
    f"--random={CANDIDATES}",
    f"--set=workload.requests={REQUESTS}",
    "--jobs=2",
    "--backend=threads",
    "--json",
    "--quiet",
)


def measure() -> Measured:
    """Wall time of the whole process: imports, the sampler's points and the figures of each included."""
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # a table that is there already would be gone on with
        out = Path(folder) / "sweep.parquet"
        ended = whole_process.delayline(*COMMAND, f"--out={out}")
    if (simulated := json.loads(ended.output)["simulated"]) != CANDIDATES:
        raise RuntimeError(f"{simulated} settings were simulated, not {CANDIDATES}")
    rate_hz = CANDIDATES * REQUESTS / ended.wall_s
    row = Row(
        f"delayline sweep, {CANDIDATES:,} candidates x {REQUESTS:,} requests x 4 stages, two threads",
        f"{ended.wall_s:.1f} s, {rate_hz / 1e6:.1f} M requests/s",
        f"at most {MOST_S:g} s",
        ended.wall_s <= MOST_S,
    )
    return Measured((row,), {"wall_s": ended.wall_s, "requests_hz": rate_hz})
