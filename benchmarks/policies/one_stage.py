"""One stage with one replica, where the optimum is known: ``python -m benchmarks.policies.one_stage``.

Prints how far cadence is from it and keeps that in ``benchmarks/results/policies_optimum.json``. Two
questions are asked of each stage. Cadence's own: up to which rate are 99% of the requests in time? ``smdp``
minimises means and no percentile, so that it takes part with the weight of the excess over the objective
that serves it best on the seed that knobs are chosen on, planned for the true rate. And ``smdp``'s own: what
does a request cost beyond the least, for latency alone and for latency with that weight of the excess, in
the same arrivals and noise? Foresight of all arrivals bounds both where service times do not vary.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.policies.goodput import LATE, WARMUP, StageSetting, goodput, highest, meets
from benchmarks.policies.regimes import DLRM, Regime, pipeline
from benchmarks.policies.sources import CHOOSING_SEED, Drawn
from benchmarks.policies.study import FRESH_SEEDS, ratio
from configs.model import Config
from configs.spellings import Warmup
from delayline.foresight import foresight, service_times_ns
from delayline.optimum import beside
from policies.cadence import Cadence
from policies.cadence_model import Z_99
from policies.contract import Policy
from policies.immediate import Immediate
from policies.smdp import Smdp
from policies.smdp_model import Weights
from sim.arrivals.poisson import Poisson
from sim.backends.choose import backend
from sim.optimum.clairvoyant import at_most_late
from sim.optimum.one_stage import OneStage, one_stage, varies
from sim.simulate import model_of, workload_of
from sim.statistics import Interval

RESULT = Path(__file__).resolve().parents[1] / "results" / "policies_optimum.json"
WIDTH = 190
CAPTION = """\
Goodput: the highest rate at which 99% of the requests meet the objective, as a share of capacity; means over
four fresh seeds. optimum: smdp, planned for the rate, with the weight of the excess that served best on
another seed. foresight: with all arrivals known. Latency (a mean) and cost (latency + weight x excess) above
the optimum of the one and of the other, at {loads} of the optimum's goodput, in the same runs."""
SOURCE = Drawn(Poisson(1e3), requests=10_000)
EXCESS = (0.0, 1.0, 10.0)
"""Weights of the excess that are tried; that of latency is 1."""
STEADY = 0.98
"""The optimum is planned for no higher load: beyond 1 there is none, and close to it it is large."""
ROOM = (1.25, 2.0, 4.0)
"""Objectives, as multiples of the time within which 99 of 100 full batches are served."""
SHARES = (0.3, 0.6, 0.9)
"""Loads at which costs are compared, as shares of the optimum's goodput."""
FORESEEN = 0.005
"""Goodput with foresight is known to this share of itself."""
MOSTLY_FIXED = {"kind": "affine", "base": "4ms", "per_request": "100us"}
STAGES: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("mostly fixed", 32, MOSTLY_FIXED),
    ("half fixed", 16, {"kind": "affine", "base": "1ms", "per_request": "60us"}),
    ("little fixed", 16, {"kind": "affine", "base": "1ms", "per_request": "500us"}),
    ("dlrm", 64, DLRM),
    ("mostly fixed, cv 0.3", 32, {**MOSTLY_FIXED, "cv": 0.3}),
)
"""Name, largest batch, service."""


@dataclass(frozen=True, slots=True)
class Case:
    """A stage and its objective."""

    regime: Regime
    max_batch: int

    @property
    def name(self) -> str:
        """The stage and its objective."""
        return self.regime.name

    def scored(self, policy: Policy, guess: float = 0.5) -> list[float]:
        """Goodput on fresh seeds."""
        setting = [StageSetting(self.max_batch, policy)]
        return [goodput(self.regime, setting, seed, guess) for seed in FRESH_SEEDS]

    def optimal(self, excess: float, seed: int, guess: float) -> float:
        """Goodput of ``smdp``, planned for each rate that is tried, but for those close to capacity."""

        def in_time(load: float) -> bool:
            rate_hz = min(load, STEADY) * self.regime.capacity_hz
            setting = [StageSetting(self.max_batch, Smdp(rate_hz=rate_hz, excess_weight=excess))]
            return meets(self.regime, setting, load, seed)

        return highest(in_time, guess)

    def foreseen(self, seed: int, guess: float) -> float:
        """Highest load at which 99% could be in time if all arrivals were known."""
        service_ns = service_times_ns(self.stage(guess))

        def in_time(load: float) -> bool:
            arrival_ns = SOURCE.arrival_ns(load * self.regime.capacity_hz, seed)
            most = int(LATE * len(arrival_ns))
            return at_most_late(arrival_ns, service_ns, self.regime.objective_ns, most)

        return highest(in_time, guess, FORESEEN)

    def stage(self, load: float) -> OneStage:
        """As theory takes it, at a load."""
        config = self.at(load, Immediate())
        return one_stage(config, workload_of(config))

    def at(self, load: float, policy: Policy) -> Config:
        """The configuration with its own arrivals at a load."""
        config = self.regime.config
        arrivals = Poisson(load * self.regime.capacity_hz)
        work = replace(config.workload, arrivals=arrivals, requests=SOURCE.requests)
        (stage,) = config.stages
        return replace(
            config,
            seed=FRESH_SEEDS[0],
            replications=len(FRESH_SEEDS),
            warmup=Warmup(percent=100 * WARMUP),
            workload=work,
            stages=(replace(stage, policy=policy),),
        )


def cases() -> Iterator[Case]:
    """All of them."""
    for name, most, service in STAGES:
        stage = {"name": "rank", "max_batch": most, "service": service}
        model = model_of(pipeline([stage], 1, None), "rank")
        full_ns = model.expected_ns(most, most) * (1 + Z_99 * model.cv_of(most, most))
        for room in ROOM:
            objective_ms = round(room * full_ns / 1e6, 2)
            config = pipeline([stage], objective_ms, None)
            yield Case(Regime(f"{name}, {objective_ms:g} ms", "optimum", config, SOURCE), most)


def measured(case: Case) -> dict[str, Any]:
    """What is kept of a case."""
    cadence = case.scored(Cadence())
    guess = fmean(cadence)
    on_choosing = {excess: case.optimal(excess, CHOOSING_SEED, guess) for excess in EXCESS}
    excess = max(EXCESS, key=lambda each: on_choosing[each])
    optimum = [case.optimal(excess, seed, guess) for seed in FRESH_SEEDS]
    scores = {"greedy": case.scored(Immediate(), guess), "optimum": optimum, "cadence": cadence}
    known = not varies(case.stage(guess).model, case.max_batch, 1)
    if known:
        pairs = zip(FRESH_SEEDS, optimum, strict=True)
        scores["foresight"] = [case.foreseen(seed, max(at, guess)) for seed, at in pairs]
    loads = [share * fmean(optimum) for share in SHARES]
    return {
        "case": case.name,
        "excess_weight": excess,
        "goodput": {name: round(fmean(values), 4) for name, values in scores.items()},
        "cadence_over": {
            name: _kept(ratio(cadence, values))
            for name, values in scores.items()
            if name != "cadence"
        },
        "at": [_costs(case, load, excess, known) for load in loads],
    }


def _costs(case: Case, load: float, excess: float, known: bool) -> dict[str, Any]:
    """Cadence's cost and latency over the least at one load."""
    own = [("cadence", one_stage(config := case.at(load, Cadence()), workload_of(config)))]
    found: dict[str, Any] = {"load": round(load, 4)}
    for name, weight in (("latency", 0.0), ("excess", excess)):
        beside_it = beside(own, Weights(latency=1.0, excess=weight))
        gap = beside_it.gap(beside_it.rated[0])
        found[name] = None if gap is None else _kept(gap)
    if known:
        runs = beside_it.rated[0].runs
        foreseen = foresight(own[0][1]).latency_s
        ratios = [run.whole_s / least_s for run, least_s in zip(runs, foreseen, strict=True)]
        found["latency_over_foresight"] = round(fmean(ratios), 4)
    return found


def _kept(found: Interval) -> list[float]:
    return [round(value, 4) for value in (found.estimate, found.low, found.high)]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    loads = "/".join(f"{share:g}" for share in SHARES)
    table = Table(title=CAPTION.format(loads=loads), title_justify="left", title_style="")
    table.add_column("stage and objective", ratio=1)
    for name in ("greedy", "optimum", "weight", "cadence", "foresight"):
        table.add_column(name, justify="right")
    table.add_column("over optimum", justify="right", no_wrap=True)
    table.add_column("over foresight", justify="right")
    for name in ("latency above optimum, %", "cost above optimum, %", "latency / foresight's"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        goodputs, over, at = row["goodput"], row["cadence_over"], row["at"]
        table.add_row(
            row["case"],
            f"{goodputs['greedy']:.3f}",
            f"{goodputs['optimum']:.3f}",
            f"{row['excess_weight']:g}",
            f"{goodputs['cadence']:.3f}",
            f"{goodputs['foresight']:.3f}" if "foresight" in goodputs else "",
            "{:.3f} [{:.3f} {:.3f}]".format(*over["optimum"]),
            f"{over['foresight'][0]:.2f}" if "foresight" in over else "",
            *(" ".join(_percent(each[name]) for each in at) for name in ("latency", "excess")),
            " ".join(f"{each.get('latency_over_foresight', 0):.2f}" for each in at)
            if "foresight" in goodputs
            else "",
        )
    console = Console()
    Console(width=None if console.is_terminal else WIDTH).print(table)


def _percent(gap: Sequence[float] | None) -> str:
    return "-" if gap is None else f"{100 * gap[0]:.1f}"


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="in the name")
    parser.add_argument("--jobs", type=int, default=-1, help="threads; -1 for all cores")
    parser.add_argument("--show", action="store_true", help="print what is kept, measure nothing")
    asked = parser.parse_args()
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    every = list(cases())
    if asked.show:
        show([kept[case.name] for case in every if case.name in kept])
        return
    wanted = [c for c in every if not asked.only or any(text in c.name for text in asked.only)]
    if not wanted:
        sys.exit(f"error: no case has {' or '.join(asked.only)} in its name")
    rows = []
    with backend("threads", asked.jobs) as workers:
        for row in workers.map(measured, wanted):
            print(row["case"], file=sys.stderr, flush=True)
            rows.append(row)
            kept[row["case"]] = row
            ordered = {case.name: kept[case.name] for case in every if case.name in kept}
            RESULT.write_text(json.dumps(ordered, indent=1) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
