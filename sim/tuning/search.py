"""The search: Optuna proposes settings, simulation tells how good they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from configs.checks import checked
from configs.errors import ConfigError
from configs.model import Config
from configs.tuning import knob_ranges
from sim.simulate import simulate
from sim.tuning.score import Figures, Judge, Scale
from sim.tuning.space import Space, with_setting

NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting that was tried."""

    number: int
    """0 is the start: the configuration as it is given."""
    setting: Mapping[str, Any]
    """Values by the paths of their knobs, as ``configs.knob_paths`` has them."""
    config: Config
    figures: Figures | None
    """None where the configuration refuses the setting, such as a size above max_batch."""


def ranked(trials: Sequence[Trial]) -> list[tuple[Trial, Figures]]:
    """The trials that have figures, best first, each setting once; ``trials`` begins with the start.

    Raises ValueError where the start has no figures.
    """
    start = trials[0].figures if trials else None
    if start is None:
        raise ValueError("the first trial must be the start, with its figures")
    scale = scale_of(trials[0].config, start)
    once: dict[tuple[Any, ...], tuple[Trial, Figures]] = {}
    for trial in trials:
        if trial.figures is not None:
            once.setdefault(tuple(trial.setting.values()), (trial, trial.figures))
    return sorted(once.values(), key=lambda each: scale.order(each[1]))


Task = tuple[Config, int]
"""A configuration and the number of a replication."""


def judged(tasks: Sequence[Task], judge: Judge, jobs: int) -> list[Figures]:
    """The figures of each task, in order, on so many processes."""
    if jobs == 1 or len(tasks) == 1:
        return [_judged(config, replication, judge) for config, replication in tasks]
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=jobs)(delayed(_judged)(*task, judge) for task in tasks))


def _judged(config: Config, replication: int, judge: Judge) -> Figures:
    return judge(config, simulate(config, replication=replication))


def scale_of(config: Config, start: Figures) -> Scale:
    """What the trials of a configuration are measured against. Raises ValueError without objective."""
    if config.objective is None:
        raise ValueError("objective is not set; tuning needs one: `objective: {latency: 50ms}`")
    return Scale(config.objective.latency_ns / NS_PER_MS, start.busy_s_per_1000)


def search(config: Config, judge: Judge, *, trials: int, jobs: int = 1) -> Iterator[Trial]:
    """Try ``trials`` settings, the start first; yields each as it is known.

    All meet the same arrivals and the same noise: replication 0 of the configuration (common random
    numbers). Settings come from Optuna's TPE sampler, seeded by the configuration, ``jobs`` at a time
    (-1: as many as cores), so that the same call gives the same trials. Bergstra et al., "Algorithms
    for Hyper-Parameter Optimization" (NIPS 2011). Raises ValueError where the configuration has no
    objective or no knob to tune.
    """
    space = Space(knob_ranges(config))
    if not space.ranges:
        raise ValueError(
            "tune is empty; name a knob and its range: `tune: {stages.rank.policy.delay: [0ms, 10ms]}`"
        )
    start = judged([(config, 0)], judge, 1)[0]
    scale = scale_of(config, start)
    yield Trial(0, space.start(), config, start)
    searching = _Search(config, judge, space, scale, jobs)
    searching.learn(space.start(), start)
    number = 1
    while number < trials:
        for trial in searching.next_trials(number, min(searching.jobs, trials - number)):
            yield trial
            number += 1


class _Search:
    """Optuna's study, and what is known of settings that were tried."""

    def __init__(self, config: Config, judge: Judge, space: Space, scale: Scale, jobs: int) -> None:
        from joblib import effective_n_jobs

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.config, self.judge, self.space, self.scale = config, judge, space, scale
        self.jobs = effective_n_jobs(jobs)
        sampler = optuna.samplers.TPESampler(seed=config.seed % 2**32)
        self.study = optuna.create_study(sampler=sampler)
        self.known: dict[tuple[Any, ...], Figures | None] = {}

    def learn(self, setting: Mapping[str, Any], figures: Figures) -> None:
        """Let the sampler know of a setting that it did not propose, if its ranges contain it."""
        params = self.space.params(setting)
        if params is None:
            return
        value = self.scale.value(figures)
        try:
            trial = optuna.trial.create_trial(
                params=params, distributions=self.space.distributions, value=value
            )
        except ValueError:
            return  # beyond its range, or between its steps
        self.known[tuple(params.values())] = figures
        self.study.add_trial(trial)

    def next_trials(self, number: int, count: int) -> Iterator[Trial]:
        """Ask for so many settings at once, try them together, tell how they did in order."""
        asked = [self.study.ask(self.space.distributions) for _ in range(count)]
        keys = [tuple(trial.params[path] for path in self.space.ranges) for trial in asked]
        settings = [self.space.setting(trial.params) for trial in asked]
        configs = [with_setting(self.config, setting) for setting in settings]
        self._try(dict(zip(keys, configs, strict=True)))
        for i, (trial, key) in enumerate(zip(asked, keys, strict=True)):
            figures = self.known[key]
            if figures is None:
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                self.study.tell(trial, self.scale.value(figures))
            yield Trial(number + i, settings[i], configs[i], figures)

    def _try(self, candidates: Mapping[tuple[Any, ...], Config]) -> None:
        """Simulate the candidates that are new and that the configuration allows."""
        new = {key: made for key, made in candidates.items() if key not in self.known}
        refused = {key for key, made in new.items() if not _allowed(made)}
        self.known |= dict.fromkeys(refused)
        tasks = {key: (made, 0) for key, made in new.items() if key not in refused}
        if tasks:
            found = judged(list(tasks.values()), self.judge, self.jobs)
            self.known |= dict(zip(tasks, found, strict=True))


def _allowed(config: Config) -> bool:
    try:
        checked(config)
    except ConfigError:
        return False
    return True
