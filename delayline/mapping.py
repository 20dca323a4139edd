"""Regime maps from end to end: what is measured, and the table that keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from configs.model import Config
from delayline import map_grid
from delayline.console import progress
from delayline.errors import CommandError
from delayline.judging import busy_s_per_1000
from delayline.rates import open_arrivals
from delayline.runs import warmup_ns
from delayline.sweeping import identity
from policies.contract import NEVER_NS
from policies.pipeline import topological
from policies.runlog import RunLog
from reports import regime_table
from reports.confidence import over_replications
from reports.objective import waits_ns
from reports.percentiles import NS_PER_MS, percentile
from reports.regime_table import Regimes, regimes_of
from reports.sweep_journal import Journal
from reports.sweep_table import Description, Row, SweepError, difference, read
from sim.backends.base import Backend
from sim.backends.choose import backend_for
from sim.capacity import capacity_hz
from sim.regimes.evaluate import Evaluator, Reached
from sim.regimes.families import Family, Spot
from sim.regimes.score import Score, Scored, scored
from sim.regimes.verdict import gain, judged
from sim.service.of_stage import model_of_stage

REQUESTS, QUICK_REQUESTS = 20_000, 5_000
REPLICATIONS, QUICK_REPLICATIONS = 8, 4
_SIMULATIONS = 600
"""About how many a load takes, for the progress bar."""
Key = tuple[float, float, str]
"""Load, objective in milliseconds, candidate: what tells a row from all others."""


@dataclass(frozen=True, slots=True)
class Map:
    """What there is to measure."""

    config: Config
    loads: tuple[float, ...]
    objectives_ns: tuple[int, ...]
    families: tuple[Family, ...]
    requests: int
    replications: int
    capacity_hz: float
    least_ns: float
    """What a request takes alone, by mean service times."""

    def spot(self, load: float) -> Spot:
        """The pipeline at a load."""
        arrivals = open_arrivals(self.config)
        rate_hz = load * self.capacity_hz
        workload = replace(
            self.config.workload,
            arrivals=arrivals.scaled(rate_hz / arrivals.mean_rate_hz()),
            requests=self.requests,
            duration_ns=None,
        )
        config = replace(self.config, workload=workload, tune={})
        return Spot(config, load, rate_hz, self.objectives_ns)

    def description(self) -> Description:
        """All that its rows depend on but for the load, JSON-able."""
        found = {
            "format": "delayline-map/1",
            "candidates": [family.name for family in self.families],
            "objectives": list(self.objectives_ns),
            "requests": self.requests,
            "replications": self.replications,
            **identity(replace(self.config, tune={}, replications=1)),
        }
        described: Description = json.loads(json.dumps(found))
        return described


@dataclass(frozen=True, slots=True)
class Mapped:
    """What was measured."""

    asked: Map
    regimes: Regimes
    """Of the loads that are done: all unless it was interrupted."""
    new: int
    """Loads that were measured now; the others were there before."""
    missing: int
    """Loads that are still to be measured."""


def regime_map(
    config: Config,
    *,
    loads: Sequence[float] | None = None,
    objectives_ns: Sequence[int] | None = None,
    policies: Sequence[str] = (),
    requests: int | None = None,
    replications: int | None = None,
    quick: bool = False,
) -> Map:
    """The map of a configuration, over shares of its capacity and objectives in nanoseconds.

    Raises CommandError for arrivals whose rate cannot be set, stages that take no time, and an objective
    that lies below what a request takes alone.
    """
    open_arrivals(config)
    items = config.workload.items
    mean_items = 1.0 if items is None else items.mean_items()
    bound_hz = capacity_hz(config, mean_items)
    if bound_hz == math.inf:
        raise CommandError("no stage takes any time, so that no load can be set; give them service")
    least_ns = _least_ns(config, mean_items)
    if objectives_ns is None:
        objectives_ns = map_grid.default_objectives(config, least_ns, quick=quick)
    map_grid.check_objectives(objectives_ns, least_ns)
    return Map(
        config=config,
        loads=tuple(map_grid.default_loads(quick=quick) if loads is None else loads),
        objectives_ns=tuple(objectives_ns),
        families=map_grid.families(config, policies),
        requests=requests or (QUICK_REQUESTS if quick else REQUESTS),
        replications=replications or (QUICK_REPLICATIONS if quick else REPLICATIONS),
        capacity_hz=bound_hz,
        least_ns=least_ns,
    )


def run_map(
    asked: Map, out: Path, *, jobs: int = -1, backend: Backend | None = None, quiet: bool = True
) -> Mapped:
    """Measure what of a map is not in the table ``out`` or in the journal beside it, load by load.

    Ctrl-C ends it early: the loads that are done are kept in the journal, and the same call goes on from
    there. A table grows by further loads. Raises SweepError where ``out`` holds another map, OSError.
    """
    described = asked.description()
    journal = Journal(out.with_name(f"{out.name}.journal"), described)
    try:
        known = _known(out, described, journal.rows)
        todo = [load for load in asked.loads if not _whole(asked, load, known)]
        new = 0
        try:
            with nullcontext(backend) if backend else backend_for(asked.config, jobs) as workers:
                for rows in _measured(asked, todo, workers, quiet=quiet):
                    for row in rows:
                        journal.add(row)
                    known |= {_key(row): row for row in rows}
                    new += 1
        except KeyboardInterrupt:
            if not known:
                raise
        missing = len(todo) - new
        if not missing:
            if new or not out.exists():
                ordered = sorted(known.values(), key=_order(asked))
                regime_table.write(out, regime_table.table_of(ordered, described))
            journal.remove()
        wanted = [row for row in known.values() if row["load"] in asked.loads]
        names = [family.name for family in asked.families]
        return Mapped(asked, regimes_of(wanted, names), new, missing)
    finally:
        journal.close()


def measure(config: Config, log: RunLog, objectives_ns: tuple[int, ...]) -> Reached:
    """The figures of one run; a request without an answer is within no objective."""
    took_ns = waits_ns(log, warmup_ns(config, log))
    count = len(took_ns)
    if not count:
        return Reached((0.0,) * len(objectives_ns), math.inf, 0.0)
    p99_ns = percentile(took_ns, 99)
    return Reached(
        shares=tuple(
            float(np.count_nonzero(took_ns <= objective)) / count for objective in objectives_ns
        ),
        p99_ms=math.inf if p99_ns == NEVER_NS else p99_ns / NS_PER_MS,
        busy_s_per_1000=busy_s_per_1000(log, warmup_ns(config, log)),
    )


def _measured(
    asked: Map, loads: Sequence[float], workers: Backend, *, quiet: bool
) -> Iterator[list[Row]]:
    """The rows of each load, as they are known."""
    with progress("mapping", _SIMULATIONS * len(loads), quiet=quiet) as advance:
        for done, load in enumerate(loads):
            evaluator = Evaluator(asked.spot(load), measure, workers, advance)
            cells = scored(asked.families, evaluator, asked.replications)
            yield [row for cell in cells for row in _rows(evaluator.spot, cell)]
            advance(0, f"{done + 1} of {len(loads)} loads")


def _rows(spot: Spot, cell: Scored) -> Iterator[Row]:
    verdict = judged(cell)
    holding = verdict.by_holding
    for score in cell.scores:
        within = over_replications(score.shares)
        over = gain(score, cell.scores[0])
        p99_ms = [each.p99_ms for each in score.reached]
        yield {
            "load": spot.load,
            "rate_hz": spot.rate_hz,
            "objective_ms": cell.objective_ns / NS_PER_MS,
            "candidate": score.family.name,
            "setting": _told(score),
            "holds": score.family.holds,
            "replications": len(score.reached),
            "within": within.value,
            "within_low": within.low,
            "within_high": within.high,
            "p99_ms": float(np.mean(p99_ms)),
            "busy_s_per_1000": float(np.mean([each.busy_s_per_1000 for each in score.reached])),
            "over_first": over.estimate,
            "over_first_low": over.low,
            "over_first_high": over.high,
            "winner": score is verdict.winner,
            "hold": None if verdict.hold is None else str(verdict.hold),
            "by_holding": None if holding is None else holding.estimate,
            "by_holding_low": None if holding is None else holding.low,
            "by_holding_high": None if holding is None else holding.high,
        }


def _told(score: Score) -> str:
    refused = next((each.refused for each in score.reached if each.refused), "")
    return f"refused: {refused}" if refused else score.family.told(score.settings)


def _least_ns(config: Config, mean_items: float) -> float:
    """The longest way of a request through the graph if it never waits and travels alone."""
    parents = config.parents()
    over_ns: dict[str, float] = {}
    for name in topological(parents):
        model = model_of_stage(config, config.stage(name))
        begun_ns = max((over_ns[parent] for parent in parents[name]), default=0.0)
        over_ns[name] = begun_ns + model.expected_ns(1, round(mean_items))
    return max(over_ns.values())


def _key(row: Row) -> Key:
    load, objective, name = row["load"], row["objective_ms"], row["candidate"]
    return float(load or 0), float(objective or 0), str(name)


def _whole(asked: Map, load: float, known: Mapping[Key, Row]) -> bool:
    return all(
        (load, objective_ns / NS_PER_MS, family.name) in known
        for objective_ns in asked.objectives_ns
        for family in asked.families
    )


def _known(out: Path, described: Description, kept: Sequence[Row]) -> dict[Key, Row]:
    """The rows of the journal and of a table that is there."""
    rows = list(kept)
    if out.exists() and out.suffix.lower() != ".csv":
        table, of = read(out)
        if (place := difference(of, described)) is not None:
            raise SweepError(
                f"{out} holds another map ({place} differs); give another --out, or move it away"
            )
        rows += table.to_pylist()
    return {_key(row): row for row in rows}


def _order(asked: Map) -> Callable[[Row], tuple[float, float, int]]:
    names = [family.name for family in asked.families]

    def order(row: Row) -> tuple[float, float, int]:
        load, objective, name = _key(row)
        return objective, load, names.index(name)

    return order
