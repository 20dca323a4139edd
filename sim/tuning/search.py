"""The search: a sampler proposes settings, simulation tells how good they are."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna

from configs.checks import checked
from configs.dump import plain_config
from configs.errors import ConfigError
from configs.model import Config
from configs.tuning import tunables
from sim.backends.base import Backend
from sim.tuning.costs import Cost
from sim.tuning.evaluate import Evaluator, Task, Told, unheard
from sim.tuning.halving import Reached, climb
from sim.tuning.record import Record
from sim.tuning.samplers import SamplerName
from sim.tuning.score import Figures, Judge, Scale
from sim.tuning.space import Space, with_setting
from sim.tuning.storage import study_in

NS_PER_MS = 1e6
BATCH = 9
"""Settings that are asked for at once: two halvings by three leave one of them."""
_NOT_SEARCHED = ("name", "provenance", "validate", "replications", "dispatcher")
"""Parts of a configuration that no trial hangs on."""


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
    part: int = 1
    """1 if the figures are of a whole run, 4 if of its first quarter."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched, and how. A search is a function of this alone, whatever it runs on."""

    config: Config
    cost: Cost
    sampler: SamplerName = "tpe"
    goals: tuple[str, ...] = ()
    """See :class:`sim.tuning.score.Scale`."""
    batch: int = BATCH
    """Settings that are asked for before the first of them is known: as many as can run at once."""
    parts: tuple[int, ...] = (1,)
    """See :func:`sim.tuning.halving.parts_for`."""

    def space(self) -> Space:
        """Its knobs. Raises ValueError where there are none."""
        found = tunables(self.config)
        if not found:
            raise ValueError(
                "tune is empty; name a knob and its range:"
                " `tune: {stages.rank.policy.delay: [0ms, 10ms]}`"
            )
        return Space(found)

    def scale(self, start: Figures) -> Scale:
        """What its trials are measured against. Raises ValueError without objective."""
        if self.config.objective is None:
            raise ValueError("objective is not set; tuning needs one: `objective: {latency: 50ms}`")
        return Scale(self.config.objective.latency_ns / NS_PER_MS, start.cost, self.goals)

    def identity(self) -> dict[str, Any]:
        """What two searches share only if their trials are the same."""
        plain = plain_config(self.config)
        return {
            "sampler": self.sampler,
            "goals": list(self.goals),
            "cost": self.cost.name,
            "batch": self.batch,
            "parts": list(self.parts),
            "config": {key: value for key, value in plain.items() if key not in _NOT_SEARCHED},
        }


def ranked(trials: Sequence[Trial], scale: Scale) -> list[tuple[Trial, Figures]]:
    """The trials that have figures of a whole run, best first, each setting once."""
    once: dict[str, tuple[Trial, Figures]] = {}
    for trial in trials:
        if trial.figures is not None and trial.part == 1:
            once.setdefault(repr(sorted(trial.setting.items())), (trial, trial.figures))
    return sorted(once.values(), key=lambda each: scale.order(each[1]))


def search(
    asked: Search,
    judge: Judge,
    backend: Backend,
    *,
    trials: int,
    storage: str | None = None,
    study: str = "",
    told: Told = unheard,
) -> Generator[Trial]:
    """Try ``trials`` settings, the start first; yields each as it is known.

    All meet the same arrivals and the same noise: replication 0 of the configuration (common random
    numbers). Settings are asked for a batch at a time and told in their order, so that the same search
    gives the same trials on any backend. With a ``storage``, a URL as Optuna takes it, a ``study`` that
    was left there goes on. Raises ValueError where there is no objective or no knob, StorageError.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = asked.space()
    evaluator = Evaluator(judge, backend, told)
    (figures,) = evaluator.figures([Task(asked.config)])
    scale = asked.scale(figures)
    identity = {**asked.identity(), "ranges": space.ranges()}
    start = Reached(figures, scale.values(figures))
    setting = space.start(asked.config)
    with study_in(storage, study or asked.config.name, scale.values_count, identity) as found:
        record = Record(found, space, asked.sampler, asked.config.seed, storage)
        record.begin(asked.config, start)
        yield Trial(0, setting, asked.config, figures)
        searching = _Searching(asked, space, evaluator, scale, record)
        searching.known[space.key(setting)] = start
        for first in range(1, trials, asked.batch):
            yield from searching.batch(range(first, min(first + asked.batch, trials)))


class _Searching:
    """A search under way, and what is known of settings that were tried."""

    def __init__(
        self, asked: Search, space: Space, evaluator: Evaluator, scale: Scale, record: Record
    ) -> None:
        self.known: dict[str, Reached | None] = {}
        """By the setting; None for one that the configuration refuses."""
        self._asked, self._space, self._scale = asked, space, scale
        self._evaluator, self._record = evaluator, record

    def batch(self, numbers: Sequence[int]) -> Iterator[Trial]:
        """Ask for these trials at once, try them together, tell how they did in order."""
        settings = [self._record.ask(number) for number in numbers]
        configs = [with_setting(self._asked.config, setting) for setting in settings]
        keys = [self._space.key(setting) for setting in settings]
        trying: dict[str, Config] = {}
        if not all(map(self._record.finished, numbers)):
            # What was left half told is tried again as a whole: who goes on hangs on all of a batch.
            trying = self._new(dict(zip(keys, configs, strict=True)))
        new = self._climb(trying)
        for number, setting, config, key in zip(numbers, settings, configs, keys, strict=True):
            while key in trying and key not in self.known:
                self.known.update([next(new)])
            reached = self._told(number, key)
            figures, part = (None, 1) if reached is None else (reached.figures, reached.part)
            yield Trial(number, setting, config, figures, part)

    def _told(self, number: int, key: str) -> Reached | None:
        if self._record.finished(number):
            reached = self._record.told(number)
            self.known[key] = reached
            return reached
        reached = self.known[key]
        self._record.tell(number, reached)
        return reached

    def _new(self, candidates: Mapping[str, Config]) -> dict[str, Config]:
        """The candidates to be simulated: those that are not known and that the configuration allows.
        One that is known by a short run alone has its chance again.
        """
        new: dict[str, Config] = {}
        for key, config in candidates.items():
            known = self.known.get(key)
            if key in self.known and (known is None or known.part == self._asked.parts[-1]):
                continue
            if allowed(config):
                self.known.pop(key, None)
                new[key] = config
            else:
                self.known[key] = None
        return new

    def _climb(self, trying: Mapping[str, Config]) -> Iterator[tuple[str, Reached]]:
        reached = climb(list(trying.values()), self._evaluator, self._scale, self._asked.parts)
        return zip(trying, reached, strict=True)


def allowed(config: Config) -> bool:
    """Whether a setting goes together with the rest of its configuration; its ranges are sound."""
    try:
        checked(replace(config, tune={}))
    except ConfigError:
        return False
    return True
