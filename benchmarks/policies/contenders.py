"""Who takes part: settings whose knobs are chosen on one seed, the best found for each regime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks.policies.goodput import (
    EXACT,
    LOWEST,
    Setting,
    StageSetting,
    goodput,
    tail_at,
    unsafe,
)
from benchmarks.policies.regimes import LARGEST, Regime
from benchmarks.policies.sources import CHOOSING_SEED
from policies.contract import Policy
from policies.fixed import Fixed
from policies.immediate import Immediate

CAPS = (20, 16, 12, 24, 32, 40, 48, 64, 28, 18, 14, 10, 8, 6, 5, 4, 3, 2, 1)
"""Likely ones first: one that is worse than the best so far costs a single run."""
DELAYS = (0.02, 0.04, 0.07, 0.1, 0.14, 0.18, 0.23, 0.29, 0.36)
"""As shares of the objective."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A delay and a cap."""

    delay_ns: int
    cap: int

    def setting(self) -> StageSetting:
        """Greedy where there is no delay."""
        policy = Fixed(self.delay_ns) if self.delay_ns else Immediate()
        return StageSetting(self.cap, policy)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting, and its goodput on the seed that it was chosen on."""

    setting: Setting
    goodput: float
    pairs: tuple[Pair, ...] = ()
    """What it consists of, where it is delays and caps."""

    @property
    def text(self) -> str:
        """The pairs in words."""
        shown = self.pairs[:1] if len(set(self.pairs)) == 1 else self.pairs
        return ", ".join(f"{pair.delay_ns / 1e6:.2f} ms/{pair.cap}" for pair in shown)


class Search:
    """The best settings so far of one regime: a candidate costs one run unless it is better.

    ``best`` meets the objective at all lighter loads as well; ``highest`` may not.
    """

    def __init__(self, regime: Regime, start: Chosen | None = None) -> None:
        self.regime = regime
        self.best = self.highest = start or Chosen((), 0.0)

    def offer(self, pairs: Sequence[Pair]) -> float:
        """Take the candidate where it is better. Returns about its goodput."""
        setting = [pair.setting() for pair in pairs]
        floor = max(self.best.goodput * (1 + EXACT), LOWEST)
        tail = tail_at(self.regime, setting, floor, CHOOSING_SEED)
        if tail > 1:
            return floor / min(tail, 10.0)
        found = goodput(self.regime, setting, CHOOSING_SEED, floor)
        chosen = Chosen(setting, found, tuple(pairs))
        if found > self.highest.goodput:
            self.highest = chosen
        if any(unsafe(self.regime, setting, found, CHOOSING_SEED)):
            return floor / 1.05
        self.best = chosen
        return found

    def same(self, pair: Pair) -> bool:
        """Offer one pair for all stages. Returns whether it was taken."""
        before = self.best
        self.offer([pair] * len(self.regime.config.stages))
        return self.best is not before


def untuned(regime: Regime, policy: Policy) -> Chosen:
    """One policy at all stages, as it comes."""
    setting = [StageSetting(LARGEST, policy)] * len(regime.config.stages)
    return Chosen(setting, goodput(regime, setting, CHOOSING_SEED))


def delay_only(regime: Regime) -> Search:
    """One delay for all stages, the largest cap."""
    return _searched(regime, [Pair(0, LARGEST), *(Pair(d, LARGEST) for d in _delays(regime))])


def cap_only(regime: Regime) -> Search:
    """One cap for all stages, no hold."""
    return _refined(_searched(regime, [Pair(0, cap) for cap in CAPS]))


def one_pair(regime: Regime) -> Search:
    """One delay and one cap for all stages: a grid, then small steps from its best."""
    delays = (0, *_delays(regime))
    return _refined(_searched(regime, [Pair(d, cap) for d in delays for cap in CAPS]))


def by_stage(regime: Regime, start: Chosen, trials: int, *, delays: bool) -> Search:
    """A cap for each stage, and a delay too if asked for: Optuna's TPE on the goodput, from a start.

    Bergstra et al., "Algorithms for hyper-parameter optimization" (NIPS 2011).
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    stages = range(len(regime.config.stages))
    longest = 0.4 * regime.objective_ns
    search = Search(regime, start if start.pairs else None)

    def value(trial: optuna.Trial) -> float:
        pairs = []
        for k in stages:
            cap = trial.suggest_int(f"cap{k}", 1, LARGEST, log=True)
            delay = trial.suggest_float(f"delay{k}", 0, longest) if delays else 0.0
            # Very short holds do nothing but cost a timer: they stand for none.
            pairs.append(Pair(round(delay) if delay > longest / 50 else 0, cap))
        return search.offer(pairs)

    sampler = optuna.samplers.TPESampler(seed=1, multivariate=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    first: dict[str, float] = {}
    for k, pair in enumerate(start.pairs):
        first |= {f"cap{k}": pair.cap} | ({f"delay{k}": pair.delay_ns} if delays else {})
    study.add_trial(
        optuna.trial.create_trial(
            params=first,
            distributions={
                name: IntDistribution(1, LARGEST, log=True)
                if name.startswith("cap")
                else FloatDistribution(0, longest)
                for name in first
            },
            value=start.goodput,
        )
    )
    study.optimize(value, n_trials=trials)
    return search


def _delays(regime: Regime) -> Iterator[int]:
    return (round(share * regime.objective_ns) for share in DELAYS)


def _near(pair: Pair) -> Iterator[Pair]:
    for cap in (pair.cap - 1, pair.cap + 1, pair.cap - 3, pair.cap + 3):
        if 1 <= cap <= LARGEST:
            yield Pair(pair.delay_ns, cap)
    for factor in (0.85, 1.15):
        if pair.delay_ns:
            yield Pair(round(pair.delay_ns * factor), pair.cap)


def _refined(search: Search) -> Search:
    """Small steps from the best pair until none is better."""
    while search.best.pairs and any(search.same(pair) for pair in _near(search.best.pairs[0])):
        pass
    return search


def _searched(regime: Regime, grid: Sequence[Pair]) -> Search:
    search = Search(regime)
    for pair in grid:
        search.same(pair)
    return search
