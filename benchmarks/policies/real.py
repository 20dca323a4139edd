"""Do real runs rank policies as simulations do? ``python -m benchmarks.policies.real``.

Greedy, the best pair of hold and cap, and cadence run on torch workers and in the simulator, under the same
arrivals at one load between greedy's goodput and cadence's. The models wait, as hosts of accelerators do,
so that two cores hold many replicas. Ranks are of p99; two that differ by less than a tenth in the
simulation are not told apart. Prints a table and keeps it in ``benchmarks/results/policies_real.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import executors.kinds  # noqa: F401  (makes the kinds known)
from benchmarks.policies.contenders import one_pair, untuned
from benchmarks.policies.goodput import Setting, applied, run_at, tail
from benchmarks.policies.regimes import SOJOURN_NS, Regime, pipeline
from benchmarks.policies.sources import Drawn, Source, workload
from delayline.real import brought_up, run_real
from policies.cadence import Cadence
from policies.immediate import Immediate
from sim.arrivals.mmpp import Mmpp
from sim.arrivals.poisson import Poisson

RESULT = Path(__file__).resolve().parents[1] / "results" / "policies_real.json"
SEED = 7
TIE = 0.1
COSTS = (("recall", 10.0, 0.5), ("rank", 30.0, 2.0))
POISSON: Source = Drawn(Poisson(1e3), requests=10_000)
BURSTS: Source = Drawn(Mmpp((5e2, 1.5e3), (5 * SOJOURN_NS,) * 2), requests=20_000)
CASES = (
    ("2 and 4 replicas, poisson, 110 ms", (2, 4), None, 110, POISSON),
    ("2 and 4 replicas, poisson, 160 ms", (2, 4), None, 160, POISSON),
    ("2 and 4 replicas, mmpp, 160 ms", (2, 4), None, 160, BURSTS),
    ("one device, 3 slots, poisson, 120 ms", (3, 3), 3, 120, POISSON),
)


def cases() -> Iterator[Regime]:
    """Pipelines whose workers fit this machine."""
    for name, replicas, slots, objective_ms, source in CASES:
        stages = [_stage(*cost, count, slots) for cost, count in zip(COSTS, replicas, strict=True)]
        yield Regime(name, "real", pipeline(stages, objective_ms, slots), source)


def _stage(
    name: str, base_ms: float, each_ms: float, count: int, slots: int | None
) -> dict[str, Any]:
    arguments = {"base_s": base_ms / 1e3, "each_s": each_ms / 1e3}
    return {
        "name": name,
        "replicas": count,
        "max_batch": 64,
        "service": {"kind": "affine", "base": f"{base_ms}ms", "per_request": f"{each_ms}ms"},
        "model": {
            "kind": "factory",
            "function": "benchmarks.policies.waiting:waiting",
            "arguments": arguments,
        },
        **({"device": "shared"} if slots else {}),
    }


def compared(regime: Regime, requests: int) -> dict[str, Any]:
    """p99 over the objective, simulated and real, by contender."""
    greedy, pair, cadence = (
        untuned(regime, Immediate()),
        one_pair(regime).best,
        untuned(regime, Cadence()),
    )
    load = (greedy.goodput * cadence.goodput) ** 0.5
    settings = {"greedy": greedy.setting, "pair": pair.setting, "cadence": cadence.setting}
    shorter = replace(regime, source=replace(regime.source, requests=requests))  # type: ignore[type-var]
    simulated = {
        name: tail(run_at(shorter, setting, load, SEED), regime.objective_ns)
        for name, setting in settings.items()
    }
    real = dict(_real(shorter, settings, load))
    return {
        "regime": regime.name,
        "load": round(load, 3),
        "pair": pair.text,
        "simulated": {name: round(each, 3) for name, each in simulated.items()},
        "real": {name: round(each, 3) for name, each in real.items()},
        "agree": same_order(simulated, real),
    }


def _real(
    regime: Regime, settings: Mapping[str, Setting], load: float
) -> Iterator[tuple[str, float]]:
    asked = workload(regime.source, load * regime.capacity_hz, SEED, regime.objective_ns)
    with brought_up(regime.config) as executor:
        for name, setting in settings.items():
            log = run_real(applied(regime.config, setting), executor, asked)
            yield name, tail(log, regime.objective_ns)


def same_order(simulated: Mapping[str, float], real: Mapping[str, float]) -> bool:
    """Whether each two that the simulation tells apart come out in the same order."""
    return all(
        (simulated[a] < simulated[b]) == (real[a] < real[b])
        for a, b in combinations(simulated, 2)
        if abs(simulated[a] - simulated[b]) > TIE * min(simulated[a], simulated[b])
    )


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="of each run")
    asked = parser.parse_args()
    rows = []
    for regime in cases():
        row = compared(regime, asked.requests)
        rows.append(row)
        print(f"{row['regime']}, load {row['load']}, pair {row['pair']}")
        for kind in ("simulated", "real"):
            print(f"  {kind:10s}" + "".join(f" {k} {v:.3f}" for k, v in row[kind].items()))
        print(f"  {'same order' if row['agree'] else 'ANOTHER ORDER'}", flush=True)
    RESULT.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{sum(row['agree'] for row in rows)} of {len(rows)} regimes in the same order")


if __name__ == "__main__":
    main()
