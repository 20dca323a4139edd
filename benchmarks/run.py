"""All speed and memory figures of the simulator, in one run: ``python -m benchmarks.run`` or ``make bench``.

Prints a table and writes ``benchmarks/results/simulator.json``. Names of figures as arguments measure only
those and leave the file alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import table, whole_process
from benchmarks.table import Measured, Row

RESULT = Path(__file__).resolve().parent / "results" / "simulator.json"
FIGURES = (
    "driver",
    "textbook",
    "peers",
    "memory",
    "growth",
    "fleet",
    "cold_start",
    "sweep",
    "plan",
)
ON_ALL_CORES = frozenset({"sweep", "plan"})
CAPTION = """\
Rates are of simulation alone: requests drawn ahead, compiled code and caches warm, and the result holds
completion times and all batches. One core unless told otherwise; medians of runs in turn (least to
greatest), ratios round by round. The four stages are those of configs/pipeline4.yaml."""
PACKAGES = ("ciw", "numba", "numpy", "salabim", "simpy")


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(FIGURES))
    asked = parser.parse_args()
    for name in asked.figures:
        if name not in FIGURES:
            parser.error(f"there is no figure {name}; there are {', '.join(FIGURES)}")
    here = {} if asked.figures else machine()
    rows: list[Row] = []
    data: dict[str, Any] = {}
    for name in asked.figures or FIGURES:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        measured = measure(name)
        rows += measured.rows
        data[name] = {"rows": [row.as_dict() for row in measured.rows], **measured.data}
    table.show(rows, CAPTION)
    if not asked.figures:
        RESULT.parent.mkdir(exist_ok=True)
        kept = {"caption": CAPTION, "machine": here, "figures": data}
        RESULT.write_text(json.dumps(kept, indent=2) + "\n")
        print(f"written to {RESULT.relative_to(whole_process.ROOT)}")


def measure(name: str) -> Measured:
    """One figure, on one core unless it is about several."""
    try:
        figure = importlib.import_module(f"benchmarks.figures.{name}")
    except ModuleNotFoundError as error:
        sys.exit(f"error: figure {name} needs {error.name}; run: pip install -e '.[bench]'")
    with nullcontext() if name in ON_ALL_CORES else one_core():
        measured: Measured = figure.measure()
        return measured


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and the processes that it starts on a single core."""
    before = os.sched_getaffinity(0)
    whole_process.pin_to_one_core()
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_average_before": os.getloadavg()[0],
        "packages": {name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    main()
