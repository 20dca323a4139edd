"""Who proposes settings: Optuna's samplers by name, a fresh one for each trial."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler

from sim.tuning.space import Space

SamplerName = Literal["tpe", "gp", "cmaes", "nsga2", "random"]
POPULATION = 24
"""Trials of a generation of NSGA-II."""


def sampler_for(
    space: Space, goals: tuple[str, ...], asked: SamplerName | None = None
) -> SamplerName:
    """The sampler that is asked for, or the usual one: NSGA-II for several goals, TPE for one.

    Raises ValueError where it can do nothing with the knobs or the goals.
    """
    if asked is None:
        return "nsga2" if len(goals) > 1 else "tpe"
    if asked == "cmaes":
        if len(goals) > 1:
            raise ValueError(
                f"sampler cmaes makes one goal small, not {' and '.join(goals)}; use nsga2, tpe or gp"
            )
        numbers = sum(
            not isinstance(found, CategoricalDistribution) and not found.single()
            for found in space.distributions.values()
        )
        if numbers < 2:
            raise ValueError(
                f"sampler cmaes needs two or more knobs with a range, and there"
                f" {'is one' if numbers else 'are none'}; use tpe"
            )
    return asked


def draws_all(name: SamplerName) -> bool:
    """Whether a sampler needs the same parameters in every trial: those of knobs that are not there
    under a trial's choices are drawn as well, and not used.
    """
    return name in ("gp", "cmaes", "nsga2")


def sampler(name: SamplerName, seed: int, number: int, space: Space) -> BaseSampler:
    """The sampler that proposes trial ``number``.

    What it proposes hangs on the seed, the number and the trials that the study knows, so that a search
    which was interrupted goes on as if it had not been. Sources:

    - tpe: Bergstra et al., "Algorithms for hyper-parameter optimization" (NIPS 2011), multivariate, a
      group of knobs for each combination of kinds;
    - gp: Gaussian processes with logEI, Ament et al., "Unexpected improvements to expected improvement
      for Bayesian optimization" (NeurIPS 2023);
    - cmaes: Hansen and Ostermeier, "Completely derandomized self-adaptation in evolution strategies"
      (2001);
    - nsga2: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002).
    """
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "tpe":
                return optuna.samplers.TPESampler(
                    seed=own, multivariate=True, group=space.conditional, constant_liar=True
                )
            case "gp":
                return optuna.samplers.GPSampler(seed=own, warn_independent_sampling=False)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=own, population_size=POPULATION)
            case "random":
                return optuna.samplers.RandomSampler(seed=own)
