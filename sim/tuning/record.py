"""The record of a search: an Optuna study that asks for settings and is told how they did.

Trial 0 is the start; the others are asked for in their order and told in their order. What is asked hangs
on the trials that were told before and on the trial's own number alone, so that a record that a killed
process has left goes on as that process would have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from configs.model import Config
from sim.tuning.halving import Reached
from sim.tuning.samplers import SamplerName, draws_all, sampler
from sim.tuning.score import Figures
from sim.tuning.space import Setting, Space
from sim.tuning.storage import StorageError, shown_url, storage_errors

_FIGURES = "figures"


class Record:
    """Asks and tells. ``url`` is where the study is kept, for messages."""

    def __init__(
        self, study: Study, space: Space, name: SamplerName, seed: int, url: str | None = None
    ) -> None:
        self._study, self._space, self._name, self._seed = study, space, name, seed
        self._url = url
        with storage_errors(url):
            self._left = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
        self._asked: dict[int, Trial] = {}

    def begin(self, config: Config, start: Reached) -> None:
        """The start is known. Raises StorageError where a record that was left knows it otherwise."""
        left = self._left.get(0)
        if left is not None:
            if (known := _read(left)[0]) != start.figures:
                raise StorageError(
                    f"study {self._study.study_name} in {shown_url(self._url or '')} has other figures"
                    f" for the start ({known.latency_ms:.6g} ms then, {start.figures.latency_ms:.6g} ms"
                    " now): a file that the configuration names, or delayline, has changed since; give"
                    " another --study name"
                )
            return
        params = self._space.params(config)
        # What no range contains is kept beside the trials that a sampler learns from.
        state = TrialState.FAIL if params is None else TrialState.COMPLETE
        trial = create_trial(
            state=state,
            params=params or {},
            distributions=self._space.used(params or {}),
            values=None if params is None else list(start.values),
            user_attrs={_FIGURES: _plain(start)},
        )
        with storage_errors(self._url):
            self._study.add_trial(trial)

    def ask(self, number: int) -> Setting:
        """The setting of a trial. Raises StorageError where another process asks as well."""
        left = self._left.get(number)
        if left is not None and left.state.is_finished():
            return self._space.setting(left.params)
        self._study.sampler = sampler(self._name, self._seed, number, self._space)
        with storage_errors(self._url):
            trial = self._study.ask() if left is None else Trial(self._study, left._trial_id)
            if trial.number != number:
                raise self._not_alone()
            self._asked[number] = trial
            params = self._drawn(trial, {} if left is None else left.params)
        return self._space.setting(params)

    def told(self, number: int) -> Reached | None:
        """What was told of a trial before; None for one that was not, or was refused."""
        left = self._left.get(number)
        if left is None or not left.state.is_finished() or _FIGURES not in left.user_attrs:
            return None
        figures, part = _read(left)
        return Reached(figures, tuple(left.values or ()), part)

    def finished(self, number: int) -> bool:
        """Whether a trial was told of before this process began, or refused."""
        left = self._left.get(number)
        return left is not None and left.state.is_finished()

    def tell(self, number: int, reached: Reached | None) -> None:
        """How a trial did that was asked for; None where the configuration refuses it."""
        trial = self._asked.pop(number)
        with storage_errors(self._url):
            try:
                if reached is None:
                    self._study.tell(trial, state=TrialState.FAIL)
                    return
                trial.set_user_attr(_FIGURES, _plain(reached))
                self._study.tell(trial, list(reached.values))
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError) as error:
                raise self._not_alone() from error

    def _drawn(self, trial: Trial, left: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a trial, some of which are perhaps ``left`` by a process that was killed."""
        params: dict[str, Any] = {}

        def draw(name: str, distribution: BaseDistribution) -> Any:
            if name in left:
                self._pass_over(trial, name, distribution)
            if name not in params:
                params[name] = _suggested(trial, name, distribution)
            return params[name]

        if draws_all(self._name):
            for name, distribution in self._space.distributions.items():
                draw(name, distribution)
        else:
            self._space.draw(draw)
        return params

    def _pass_over(self, trial: Trial, name: str, distribution: BaseDistribution) -> None:
        """Draw what a parameter was drawn by, so that the next one is drawn as it would have been."""
        if not distribution.single() and name not in trial.relative_params:
            frozen = self._study.get_trials(deepcopy=False)[trial.number]
            self._study.sampler.sample_independent(self._study, frozen, name, distribution)

    def _not_alone(self) -> StorageError:
        return StorageError(
            f"another process goes on with study {self._study.study_name} in"
            f" {shown_url(self._url or '')}; let one of them end, or give another --study name"
        )


def _suggested(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution():
            return trial.suggest_categorical(name, distribution.choices)
        case IntDistribution():
            low, high, log = distribution.low, distribution.high, distribution.log
            return trial.suggest_int(name, low, high, step=distribution.step, log=log)
        case FloatDistribution():
            start, end, log = distribution.low, distribution.high, distribution.log
            return trial.suggest_float(name, start, end, step=distribution.step, log=log)
    raise TypeError(f"no knob has such a distribution: {distribution}")


def _plain(reached: Reached) -> dict[str, float | None]:
    found = reached.figures
    latency_ms = found.latency_ms if math.isfinite(found.latency_ms) else None
    return {
        "latency_ms": latency_ms,
        "unanswered": found.unanswered,
        "cost": found.cost,
        "lost": found.lost,
        "part": reached.part,
    }


def _read(trial: FrozenTrial) -> tuple[Figures, int]:
    found = trial.user_attrs[_FIGURES]
    latency_ms = math.inf if found["latency_ms"] is None else found["latency_ms"]
    lost = found.get("lost", 0.0)  # studies of versions without the goal have none
    return Figures(latency_ms, found["unanswered"], found["cost"], lost), found["part"]
