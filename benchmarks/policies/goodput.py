"""Goodput: the highest rate at which 99% of the requests meet their objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.policies.regimes import Regime
from benchmarks.policies.sources import workload
from configs.model import Config
from policies.contract import Policy
from policies.runlog import Outcome, RunLog
from sim.simulate import simulate

LATE = 0.01
"""Share of the requests that may miss the objective."""
WARMUP = 0.05
"""Share of the requests that are left out at the start."""
HIGHEST, LOWEST = 1.08, 0.01
"""Loads within which goodput is looked for, as shares of capacity."""
LADDER = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8)
"""Loads at which a setting must meet the objective as well, if they are below its goodput."""
EXACT = 0.002
"""Goodput is known to this share of itself."""


@dataclass(frozen=True, slots=True)
class StageSetting:
    """What a contender sets at a stage."""

    max_batch: int
    policy: Policy


Setting = Sequence[StageSetting]
"""One entry a stage, in the order of the configuration."""


def applied(config: Config, setting: Setting) -> Config:
    """The configuration with a contender's setting."""
    stages = tuple(
        replace(stage, max_batch=each.max_batch, policy=each.policy)
        for stage, each in zip(config.stages, setting, strict=True)
    )
    return replace(config, stages=stages)


def run_at(regime: Regime, setting: Setting, load: float, seed: int) -> RunLog:
    """The run at this share of the capacity; the seed decides arrivals and service noise."""
    config = replace(applied(regime.config, setting), seed=seed)
    asked = workload(regime.source, load * regime.capacity_hz, seed, regime.objective_ns)
    return simulate(config, workload=asked)


def tail(log: RunLog, objective_ns: int) -> float:
    """The latency that all but ``LATE`` of the requests stay within, as a share of the objective; infinite
    where more than those have no answer. The first requests are left out.
    """
    requests = log.requests
    counted = slice(int(WARMUP * len(requests)), None)
    took_ns = (requests.ended_ns[counted] - requests.arrival_ns[counted]).astype(float)
    took_ns[requests.outcome[counted] != Outcome.COMPLETED] = np.inf
    place = len(took_ns) - 1 - int(LATE * len(took_ns))
    return float(np.partition(took_ns, place)[place]) / objective_ns


def tail_at(regime: Regime, setting: Setting, load: float, seed: int) -> float:
    """See :func:`tail`."""
    return tail(run_at(regime, setting, load, seed), regime.objective_ns)


def meets(regime: Regime, setting: Setting, load: float, seed: int) -> bool:
    """Whether enough requests are answered in time."""
    return tail_at(regime, setting, load, seed) <= 1


def unsafe(regime: Regime, setting: Setting, load: float, seed: int) -> Iterator[float]:
    """Lighter loads at which too many are late: a setting that was found at one rate may hold for
    batches that do not fill at a lower one.
    """
    return (lower for lower in LADDER if lower < load and not meets(regime, setting, lower, seed))


def goodput(
    regime: Regime, setting: Setting, seed: int, guess: float = 0.5, exact: float = EXACT
) -> float:
    """As a share of capacity, by bisection; 0 where even ``LOWEST`` is too much."""
    return highest(lambda load: meets(regime, setting, load, seed), guess, exact)


def highest(meets: Callable[[float], bool], guess: float, exact: float = EXACT) -> float:
    """The highest load that meets the objective, by bisection; 0 where even ``LOWEST`` does not.

    Steps of growing size lead from the guess to a pair of loads of which the lower meets the objective
    and the higher does not: a setting that holds may fail at light loads and meet it at heavier ones.
    """
    step = 1.04
    if meets(guess):
        low, high = guess, min(guess * step, HIGHEST)
        while meets(high):
            if high >= HIGHEST:
                return HIGHEST
            step **= 1.5
            low, high = high, min(high * step, HIGHEST)
    else:
        low, high = guess / step, guess
        while not meets(low):
            if low < LOWEST:
                return 0.0
            step **= 1.25
            low, high = low / step, low
    while high - low > exact * low:
        middle = (low + high) / 2
        if meets(middle):
            low = middle
        else:
            high = middle
    return low
