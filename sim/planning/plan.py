"""A plan from end to end: bounds, search, verification, headroom, losses, and the schedule of a day."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from configs.model import Config
from configs.spellings import Warmup
from sim.backends.base import Backend
from sim.planning.attempts import Trial
from sim.planning.demand import Demand
from sim.planning.evaluate import Evaluator, Measure, Told
from sim.planning.failures import Loss, losses
from sim.planning.headroom import Headroom, headroom
from sim.planning.infeasible import InfeasibleError
from sim.planning.problem import Most, Planned, pools_of
from sim.planning.schedule import Schedule, Scheduler
from sim.planning.search import Search
from sim.planning.verify import Verified, Verifier

_RUNNERS_UP = 3
_TRIES_FOR_MORE = 16
"""Allocations that are tried to find so many."""
_MOST_VERIFIED = 12
"""Candidates that are verified before it is given up that one holds what the search promised."""
_WARMUP_PERCENT = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer."""

    planned: Planned
    demand: Demand
    requests: int
    """In each simulation."""
    replications: int
    best: Verified
    runners_up: tuple[Verified, ...]
    headroom: Headroom
    losses: tuple[Loss, ...]
    schedule: Schedule | None
    trials: tuple[Trial, ...]
    """Every allocation that the search tried."""
    proven: bool
    """Whether all that is cheaper has been ruled out; else no plan costs less than ``least_cost``."""
    least_cost: float
    simulations: int


def planned_of(config: Config, demand: Demand, requests: int, most: Most = None) -> Planned:
    """What is planned: the configuration under steady arrivals. Raises ConfigError."""
    pools, priced = pools_of(config, most)
    items = demand.items
    workload = replace(
        config.workload, arrivals=demand.arrivals, items=items, requests=requests, duration_ns=None
    )
    steady = replace(config, workload=workload, warmup=Warmup(percent=_WARMUP_PERCENT))
    return Planned(steady, pools, priced, 1.0 if items is None else items.mean_items())


def make_plan(
    config: Config,
    demand: Demand,
    measure: Measure,
    backend: Backend,
    *,
    requests: int,
    confirm: int = 8,
    most: Most = None,
    told: Told = lambda done, doing: None,
) -> Plan:
    """Find the cheapest plan whose latency, on ``confirm`` fresh replications of ``requests`` requests
    each, stays within the objective with the upper end of its 95% interval.

    ``most`` bounds the replicas of stages. Raises InfeasibleError where no plan does, ConfigError
    for a configuration that cannot be planned.
    """
    planned = planned_of(config, demand, requests, most)
    evaluator = Evaluator(planned, measure, backend, told)
    search = Search(evaluator, requests)
    verifier = Verifier(evaluator, requests, confirm)
    verify = _Verify(search, evaluator, verifier)
    trials = search.feasible()
    best = _first_verified(trials, verify, planned.objective_ms)
    search.stop_after(_TRIES_FOR_MORE)
    runners_up = [verify(trial) for trial in islice(trials, _RUNNERS_UP)]
    evaluator.doing = "headroom"
    room = headroom(planned, verifier, best.candidate)
    evaluator.doing = "losses"
    lost = losses(planned, verifier, best.candidate)
    by_hour = None
    if demand.hours_hz:
        evaluator.doing = "hours"
        scheduler = Scheduler(planned, evaluator, verifier, best)
        by_hour = scheduler.schedule(demand.hours_hz, demand.hour_ns)
    return Plan(
        planned=planned,
        demand=demand,
        requests=requests,
        replications=confirm,
        best=best,
        runners_up=tuple(runners_up),
        headroom=room,
        losses=lost,
        schedule=by_hour,
        trials=search.trials,
        proven=search.proven,
        least_cost=search.least_cost,
        simulations=evaluator.simulations,
    )


def _first_verified(trials: Iterator[Trial], verify: _Verify, goal_ms: float) -> Verified:
    """The cheapest that fresh replications confirm."""
    closest_ms = math.inf
    for trial in islice(trials, _MOST_VERIFIED):
        found = verify(trial)
        if found.reached.within(goal_ms):
            return found
        closest_ms = min(closest_ms, found.reached.high_ms)
    raise InfeasibleError(
        f"no plan could be verified: the best keeps within {closest_ms:.4g} ms, not {goal_ms:.4g} ms;"
        " raise the objective, or give longer runs with --requests"
    )


@dataclass(frozen=True, slots=True)
class _Verify:
    """Runs what the search found on fresh replications, with the holds that suit it best."""

    search: Search
    evaluator: Evaluator
    verifier: Verifier

    def __call__(self, trial: Trial) -> Verified:
        before, self.evaluator.doing = self.evaluator.doing, "verification"
        goal_ms = self.evaluator.planned.objective_ms
        # Holds that are best on one run may have been lucky there: the search's own are kept at hand.
        tuned, found = self.search.best_holds(trial), trial.candidate
        reached = self.verifier.planned(tuned)
        if tuned != found and not reached.within(goal_ms):
            other = self.verifier.planned(found)
            if other.high_ms < reached.high_ms:
                tuned, reached = found, other
        self.evaluator.doing = before
        return Verified(tuned, trial.cost, reached)
