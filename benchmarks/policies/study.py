"""One regime from end to end: knobs chosen on one seed, all contenders scored on fresh ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from benchmarks.policies.bound import fluid_bound
from benchmarks.policies.contenders import (
    Chosen,
    by_stage,
    cap_only,
    delay_only,
    one_pair,
    untuned,
)
from benchmarks.policies.goodput import goodput, run_at, tail
from benchmarks.policies.regimes import Regime
from policies.cadence import Cadence
from policies.immediate import Immediate
from policies.runlog import RunLog
from sim.statistics import Interval, mean_interval

FRESH_SEEDS = (1, 2, 3, 4)
CHEAP_LOAD = 0.15
COST = Cadence(utilization=0.02, margin=1.1)
"""For the least cost that keeps the objective."""
GRID = tuple(k / 20 for k in range(1, 22))
"""Loads at which cadence must keep the objective, up to its goodput."""


@dataclass(frozen=True, slots=True)
class Cost:
    """At a light load."""

    device_us: float
    """Busy time of all devices a request."""
    tail: float
    """p99 as a share of the objective."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out for a regime: goodputs on fresh seeds, by contender."""

    regime: Regime
    chosen: dict[str, Chosen]
    scores: dict[str, list[float]]
    unsafe: list[float]
    """Loads below cadence's goodput at which more than 1% were late on a fresh seed."""
    costs: dict[str, Cost]
    bound: float


def ratio(scores: Sequence[float], others: Sequence[float]) -> Interval:
    """Of goodputs paired by seed; 1 where neither serves anything."""
    return mean_interval([a / b if b else 1.0 for a, b in zip(scores, others, strict=True)])


def study(regime: Regime, trials: int) -> Outcome:
    """Choose, then score; ``trials`` for caps alone, twice as many with delays."""
    return _outcome(regime, dict(_chosen(regime, trials)))


def own_part(regime: Regime) -> Outcome:
    """Of cadence alone, which is untuned: to be laid beside what is kept of the others."""
    return _outcome(regime, {"cadence": untuned(regime, Cadence())})


def _outcome(regime: Regime, chosen: dict[str, Chosen]) -> Outcome:
    scores = {name: list(_scores(regime, each)) for name, each in chosen.items()}
    safest = min(scores["cadence"])
    return Outcome(
        regime,
        chosen,
        scores,
        [load for load in GRID if load < safest and _late(regime, chosen["cadence"], load)],
        {name: _cost(regime, each) for name, each in _costly(chosen)},
        fluid_bound(regime),
    )


def _chosen(regime: Regime, trials: int) -> Iterator[tuple[str, Chosen]]:
    yield "greedy", untuned(regime, Immediate())
    yield "delay", delay_only(regime).best
    caps = cap_only(regime).best
    yield "cap", caps
    pair = one_pair(regime)
    yield "pair", pair.best
    yield "pair, one rate", pair.highest
    caps_each = by_stage(regime, caps, trials, delays=False).best
    yield "caps", caps_each
    start = max(pair.best, caps_each, key=lambda each: each.goodput)
    yield "tuned", by_stage(regime, start, 2 * trials, delays=True).best
    yield "cadence", untuned(regime, Cadence())


def _scores(regime: Regime, chosen: Chosen) -> Iterator[float]:
    for seed in FRESH_SEEDS:
        yield (
            goodput(regime, chosen.setting, seed, max(chosen.goodput, 0.02))
            if chosen.setting
            else 0
        )


def _late(regime: Regime, chosen: Chosen, load: float) -> bool:
    return any(
        tail(run_at(regime, chosen.setting, load, seed), regime.objective_ns) > 1
        for seed in FRESH_SEEDS
    )


def _costly(chosen: dict[str, Chosen]) -> Iterator[tuple[str, Chosen]]:
    for name in ("greedy", "pair", "cadence"):
        if name in chosen:
            yield name, chosen[name]
    setting = [replace(each, policy=COST) for each in chosen["cadence"].setting]
    yield "cadence, for cost", Chosen(setting, 0.0)


def _cost(regime: Regime, chosen: Chosen) -> Cost:
    if not chosen.setting:
        return Cost(float("nan"), float("inf"))
    logs = [run_at(regime, chosen.setting, CHEAP_LOAD, seed) for seed in FRESH_SEEDS]
    return Cost(
        fmean(_busy_us(log) for log in logs), max(tail(log, regime.objective_ns) for log in logs)
    )


def _busy_us(log: RunLog) -> float:
    busy_ns = sum(
        int((stage.batches.finished_ns - stage.batches.started_ns).sum()) for stage in log.stages
    )
    return busy_ns / len(log.requests) / 1e3
