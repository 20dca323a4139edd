"""Plans from end to end: made for each load, simulated, run for real where that is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from configs.errors import ConfigError, nearest
from configs.model import Config
from delayline.console import progress
from delayline.errors import CommandError
from delayline.plan_words import setting_of, works
from delayline.rates import open_arrivals
from delayline.runs import objective_of, warmup_ns
from policies.contract import NEVER_NS
from policies.runlog import Int64, RunLog
from reports.objective import waits_ns
from reports.paths import missing_share
from reports.percentiles import NS_PER_MS, percentile
from reports.plan_rows import Judged, Left, Memory, Outcome, Served, outcome
from reports.run import Objective
from sim.backends.base import Backend
from sim.backends.choose import backend_for
from sim.capacity import capacity_hz
from sim.plans.base import NotApplicableError, Plan, Spot
from sim.plans.registry import PLANS
from sim.plans.trials import Trials, Tried
from sim.simulate import simulate
from sim.tuning.evaluate import shared_workload

BASELINE = "cascade"
REQUESTS = 20_000
REPLICATIONS = 4
LOADS = (0.2, 0.6, 0.9)
_TRIALS = 60
"""About how many settings are tried at a load, for the progress bar."""


class Worth(Protocol):
    """Tells what the lists of a run are worth. Must be picklable."""

    def of(self, log: RunLog) -> Judged | None:
        """The mean over the completed requests, each by how it was served; None without any."""
        ...

    def measured(self, log: RunLog, users: Int64, lists: Int64) -> Judged | None:
        """The same of lists (requests, k) that a real run answered to ``users`` (requests,)."""
        ...

    def lost(self, log: RunLog) -> float:
        """Which share of the NDCG@10 that full service has is lost."""
        ...

    @property
    def full(self) -> Judged:
        """The full model's, which ranks every candidate."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What there is to compare."""

    config: Config
    plans: tuple[Plan, ...]
    loads: tuple[float, ...]
    requests: int
    replications: int
    capacity_hz: float
    candidates: int | None
    worth: Worth | None = None
    """By what the quality of lists is told; None without a quality table."""

    @property
    def objective(self) -> Objective:
        """What is to be reached."""
        found = objective_of(self.config)
        if found is None:
            raise ValueError("plans are compared by an objective")
        return found

    def at(self, load: float) -> Config:
        """The pipeline at a load."""
        arrivals = open_arrivals(self.config)
        workload = replace(
            self.config.workload,
            arrivals=arrivals.scaled(load * self.capacity_hz / arrivals.mean_rate_hz()),
            requests=self.requests,
            duration_ns=None,
        )
        return replace(self.config, workload=workload, tune={})

    def judged(self, plan: Plan, log: RunLog) -> Judged | None:
        """What a plan's lists are worth, as the quality table predicts; None where nothing tells."""
        if self.worth is None:
            return None
        if plan.other_lists:
            return self.worth.full if self.candidates else None
        return self.worth.of(log)


@dataclass(frozen=True, slots=True)
class Made:
    """A plan's configuration at a load."""

    plan: Plan
    load: float
    config: Config


@dataclass(frozen=True, slots=True)
class Compared:
    """What was compared."""

    asked: Asked
    rows: tuple[Served, ...]
    left: tuple[Left, ...]
    seconds: float | None = None
    """Length of each real run; None where there was none."""


def plans_asked(
    config: Config,
    *,
    plans: Sequence[str] = (),
    loads: Sequence[float] = LOADS,
    requests: int = REQUESTS,
    replications: int = REPLICATIONS,
    candidates: int | None = None,
    worth: Worth | None = None,
) -> Asked:
    """The comparison of plans (of these names; the cascade is always among them). Raises CommandError."""
    if config.objective is None:
        raise CommandError(
            "objective is not set; plans are compared by one, such as --set objective.latency=50ms"
        )
    open_arrivals(config)
    names = [plan.name for plan in PLANS]
    for name in plans:
        if name not in names:
            raise CommandError(f"there is no plan `{name}`; {nearest(name, names, called='plans')}")
    items = config.workload.items
    bound_hz = capacity_hz(config, 1.0 if items is None else items.mean_items())
    if bound_hz == math.inf:
        raise CommandError("no stage takes any time, so that no load can be set; give them service")
    return Asked(
        config=config,
        plans=tuple(p for p in PLANS if not plans or p.name in (BASELINE, *plans)),
        loads=tuple(sorted(set(loads))),
        requests=requests,
        replications=replications,
        capacity_hz=bound_hz,
        candidates=candidates,
        worth=worth,
    )


def compare_plans(
    asked: Asked,
    *,
    jobs: int = -1,
    backend: Backend | None = None,
    real_s: float | None = None,
    quiet: bool = True,
) -> Compared:
    """Make every plan at every load, simulate it in fresh replications, and run it on its models for
    ``real_s`` seconds where that is given. Raises CommandError where a real run is asked for and a stage
    has no model, and whatever bringing models up raises.
    """
    if real_s is not None:
        from delayline.plan_real import check_models

        check_models(asked.config)
    rows: list[Served] = []
    left: list[Left] = []
    made: list[Made] = []
    steps = len(asked.loads) * (_TRIALS + len(asked.plans))
    with (
        nullcontext(backend) if backend else backend_for(asked.config, jobs) as workers,
        progress("simulating", steps, quiet=quiet) as advance,
    ):
        for load in asked.loads:
            trials = Trials(partial(tried, asked.worth), workers, advance)
            spot = Spot(asked.at(load), load, trials, asked.candidates)
            for plan in asked.plans:
                try:
                    chosen = Made(plan, load, plan.made(spot))
                    rows.append(_simulated(asked, chosen, workers))
                    made.append(chosen)
                except (NotApplicableError, ConfigError) as error:
                    left.append(Left(plan.name, str(error), real=False))
                advance(1, f"{plan.name} at {load:.0%}")
    if real_s is not None:
        from delayline.plan_real import run_plans

        found = run_plans(asked, made, real_s, quiet=quiet)
        rows += found.rows
        left += found.left
    return Compared(asked, tuple(rows), tuple(dict.fromkeys(left)), real_s)


def _simulated(asked: Asked, made: Made, workers: Backend) -> Served:
    run = partial(_outcome, asked, made)
    return Served(
        plan=made.plan.name,
        load=made.load,
        real=False,
        setting=setting_of(asked.config, made.config),
        runs=tuple(workers.map(run, range(asked.replications))),
        memory=configured_memory(made.config),
    )


def _outcome(asked: Asked, made: Made, replication: int) -> Outcome:
    workload = shared_workload(made.config, replication)
    log = simulate(made.config, replication=replication, workload=workload)
    return outcome_of(made.config, log, asked.judged(made.plan, log))


def outcome_of(config: Config, log: RunLog, judged: Judged | None = None) -> Outcome:
    """What a run of a plan came to."""
    objective = objective_of(config)
    if objective is None:
        raise ValueError("plans are compared by an objective")
    return outcome(log, objective, warmup_ns(config, log), judged)


def tried(worth: Worth | None, config: Config, log: RunLog) -> Tried:
    """What plans choose their settings by."""
    cut_ns = warmup_ns(config, log)
    came_to = outcome_of(config, log)
    took_ns = waits_ns(log, cut_ns)
    p99_ns = percentile(took_ns, 99) if len(took_ns) else NEVER_NS
    return Tried(
        within=came_to.within,
        p99_ms=math.inf if p99_ns == NEVER_NS else p99_ns / NS_PER_MS,
        busy_s_per_1000=math.inf if came_to.busy_s_per_1000 is None else came_to.busy_s_per_1000,
        lost=missing_share(log) if worth is None else worth.lost(log),
    )


def configured_memory(config: Config) -> Memory | None:
    """What the configuration says that replicas take; None where a stage that computes says nothing."""
    known = [(stage.memory_bytes, stage.replicas) for stage in config.stages if stage.memory_bytes]
    silent = [stage for stage in config.stages if not stage.memory_bytes and works(config, stage)]
    if silent or not known:
        return None
    return Memory(max(each for each, _ in known), sum(each * count for each, count in known))
