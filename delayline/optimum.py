"""Policies of one stage beside the optimum: solved, then simulated with the same arrivals and noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from configs.model import Config
from delayline.errors import CommandError
from delayline.foresight import Foresight, foresight
from delayline.loading import load_config
from delayline.runs import run_of
from policies.immediate import Immediate
from policies.smdp import Smdp
from policies.smdp_model import TooLargeError, UnstableError, Weights
from policies.smdp_solver import Optimum, solve
from policies.weighed import patience_ns
from reports.steady import Steady, steady
from sim.optimum.one_stage import OneStage, one_stage
from sim.optimum.relaxation import Relaxed, relaxed
from sim.simulate import simulate, workload_of
from sim.statistics import Interval, mean_interval, paired_interval

REPLICATIONS = 8
"""Where the configuration asks for one: the least that gives an interval worth printing."""
OPTIMUM = "optimum"


@dataclass(frozen=True, slots=True)
class Rated:
    """A policy, and what a request costs with it in each replication."""

    name: str
    runs: tuple[Steady, ...]
    paid_s: tuple[float, ...]

    @property
    def paid(self) -> Interval:
        """What a request costs, in seconds."""
        return mean_interval(self.paid_s)


@dataclass(frozen=True, slots=True)
class Beside:
    """Policies of one and the same stage, and what theory knows of it."""

    stage: OneStage
    weights: Weights
    rated: tuple[Rated, ...]
    optimum: Rated | None
    """The optimal policy as it was simulated; None for several replicas, or without a steady state."""
    theory: Optimum | Relaxed | None
    """None without a steady state."""
    foresight: Foresight | None = None
    """What could be done if the arrivals were known; None where it was not asked for."""

    def gap(self, rated: Rated) -> Interval | None:
        """By which share a policy costs more than the optimum in the same runs, or than the bound for
        several replicas; None without either.
        """
        if self.optimum is not None:
            found = paired_interval(rated.paid_s, self.optimum.paid_s)
            least_s = self.optimum.paid.estimate
        elif self.theory is not None:
            least_s = self.theory.paid_s
            found = mean_interval([paid_s - least_s for paid_s in rated.paid_s])
        else:
            return None
        if least_s <= 0:
            return None
        return Interval(
            found.estimate / least_s, found.low / least_s, found.high / least_s, found.level
        )


def beside_optimum(
    files: Sequence[Path],
    overrides: Sequence[str],
    weights: Weights,
    replications: int | None,
    advance: Callable[[], None],
    *,
    clairvoyant: bool = False,
) -> list[Beside]:
    """The policies of these configurations, those of one stage together. ``advance`` is called after each
    policy. Raises CommandError, ConfigError, and ValueErrors that say what theory does not cover.
    """
    for file in files:
        if file.is_dir():
            raise CommandError(
                f"{file} is a recorded run; --optimum simulates, give it configurations"
            )
    groups: dict[object, list[tuple[str, OneStage]]] = {}
    names: set[str] = set()
    for file in files:
        config = load_config(file, overrides)
        if replications is not None or config.replications == 1:
            config = replace(config, replications=replications or REPLICATIONS)
        name = f"{config.name} ({file})" if config.name in names else config.name
        names.add(name)
        stage = one_stage(config, workload_of(config))
        groups.setdefault(_problem(config), []).append((name, stage))
    found = []
    for group in groups.values():
        known = foresight(group[0][1]) if clairvoyant else None
        try:
            rated = beside(group, weights, advance)
        except TooLargeError as error:
            raise CommandError(f"{group[0][0]}: {error}") from error
        found.append(replace(rated, foresight=known))
    return found


def _problem(config: Config) -> object:
    """All of a configuration but its policy and its name: equal for the same problem."""
    stages = (replace(config.stages[0], policy=Immediate()),)
    return repr(replace(config, name="", tune={}, provenance={}, stages=stages))


def beside(
    group: Sequence[tuple[str, OneStage]],
    weights: Weights,
    advance: Callable[[], None] = lambda: None,
) -> Beside:
    """Named policies of one and the same stage beside its optimum, in the same arrivals and noise.
    ``advance`` is called after each policy. Raises CommandError, and ValueErrors as theory has them.
    """
    stage = group[0][1]
    weights = _with_objective(stage, weights)
    theory = _theory(stage, weights)
    optimum = None
    if isinstance(theory, Optimum):
        optimum = _rated(OPTIMUM, with_table(stage, theory.table), stage, weights)
        advance()
    rated = []
    for name, each in group:
        rated.append(_rated(name, each.config, stage, weights))
        advance()
    return Beside(stage, weights, tuple(rated), optimum, theory)


def _with_objective(stage: OneStage, weights: Weights) -> Weights:
    asked = stage.config.objective
    if asked is None and weights.excess:
        raise CommandError(
            f"--excess-weight needs an objective; give {stage.config.name} one:"
            " `objective: {latency: 50ms}`"
        )
    return weights if asked is None else replace(weights, objective_s=asked.latency_ns / 1e9)


def _theory(stage: OneStage, weights: Weights) -> Optimum | Relaxed | None:
    try:
        if stage.servers > 1:
            return relaxed(stage.rate_hz, stage.mean_s(), stage.servers, weights)
        return solve(stage.queue(), weights)
    except UnstableError:
        return None


def with_table(stage: OneStage, table: tuple[int, ...]) -> Config:
    """The configuration with a table in place of its policy."""
    policy = Smdp(table=table, delay_ns=patience_ns(stage.rate_hz, len(table)))
    return replace(stage.config, stages=(replace(stage.stage, policy=policy),))


def _rated(name: str, config: Config, stage: OneStage, weights: Weights) -> Rated:
    runs = []
    for replication in range(config.replications):
        run = run_of(config, simulate(config, replication=replication))
        # The last requests may be held for others that never come.
        left_out = min(2 * stage.max_batch, len(run.log.requests) // 10)
        runs.append(steady(run, stage.rate_hz, left_out))
    return Rated(name, tuple(runs), tuple(weights.paid_s(each.figures) for each in runs))
