"""Cadence against greedy, fixed holds and caps, regime by regime: ``python -m benchmarks.policies``.

Prints a table and keeps it in ``benchmarks/results/policies.json``, regime by regime, so that a run with
``--only`` replaces its rows alone. Regimes of real records are left out where there is no folder of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.policies.regimes import Regime, regimes
from benchmarks.policies.report import renewed, row_of, show
from benchmarks.policies.study import own_part, study
from sim.backends.choose import backend

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "results" / "policies.json"
DATA = ROOT.parent / "shared" / "data"
TRIALS = 40
QUICK_SCALE, QUICK_TRIALS = 0.5, 15


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="in the name")
    parser.add_argument("--quick", action="store_true", help="shorter runs, fewer trials; not kept")
    parser.add_argument("--missing", action="store_true", help="only what is not kept yet")
    parser.add_argument("--own", action="store_true", help="cadence alone, beside what is kept")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real records")
    parser.add_argument("--jobs", type=int, default=-1, help="threads; -1 for all cores")
    parser.add_argument("--show", action="store_true", help="print what is kept, measure nothing")
    asked = parser.parse_args()
    if asked.own and asked.quick:
        parser.error("--own is laid beside full runs, so that it cannot be --quick")
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    every = list(regimes(asked.data, QUICK_SCALE if asked.quick else 1.0))
    if asked.show:
        show([kept[regime.name] for regime in every if regime.name in kept])
        return
    wanted = [r for r in every if not asked.only or any(text in r.name for text in asked.only)]
    if asked.missing:
        wanted = [regime for regime in wanted if regime.name not in kept]
    if asked.own:
        wanted = [regime for regime in wanted if regime.name in kept]
    if not wanted:
        sys.exit(f"error: no regime has {' or '.join(asked.only)} in its name")
    trials = QUICK_TRIALS if asked.quick else TRIALS

    def measured(regime: Regime) -> dict[str, Any]:
        if asked.own:
            return renewed(kept[regime.name], own_part(regime))
        return row_of(study(regime, trials))

    rows = []
    with backend("threads", asked.jobs) as workers:
        for row in workers.map(measured, wanted):
            print(row["regime"], file=sys.stderr, flush=True)
            rows.append(row)
            if not asked.quick:
                kept[row["regime"]] = row
                ordered = {r.name: kept[r.name] for r in every if r.name in kept}
                RESULT.write_text(json.dumps({**kept, **ordered}, indent=1) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
