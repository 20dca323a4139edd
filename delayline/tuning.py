"""Tuning from end to end: search, choose on fresh replications, and keep what there is when stopped."""

from __future__ import annotations

from dataclasses import replace

from configs.model import Config
from configs.tuning import knob_ranges
from delayline.console import progress
from delayline.errors import CommandError
from delayline.judging import judge
from delayline.tables import number
from delayline.tuned import Tuned
from sim.tuning.confirm import Confirmation
from sim.tuning.confirm import confirm as confirm_best
from sim.tuning.search import Trial, ranked, search
from sim.tuning.space import Space


def tune(
    config: Config,
    *,
    trials: int = 60,
    requests: int | None = None,
    confirm: int = 8,
    jobs: int = 1,
    quiet: bool = True,
) -> Tuned:
    """Tune the knobs under ``tune`` of a configuration for its objective.

    ``trials`` settings are tried, the configuration itself first, in simulations of ``requests``
    requests (default: as configured) on ``jobs`` processes; the best are tried again on ``confirm``
    fresh replications (see :func:`sim.tuning.confirm.confirm`). Ctrl-C ends it early with the best so
    far. Raises CommandError without an objective or a knob to tune.
    """
    if config.objective is None:
        raise CommandError(
            "objective is not set; tuning needs one, such as --set objective.latency=50ms"
        )
    if not config.tune:
        raise CommandError(
            "tune is empty; name a knob and its range, such as"
            " --set 'tune.stages.rank.policy.delay=[0ms, 10ms]'"
        )
    short = config
    if requests is not None:
        short = replace(config, workload=replace(config.workload, requests=requests))
    found: list[Trial] = []
    confirmation = None
    try:
        _search(found, short, trials, jobs, quiet)
        confirmation = _confirm(found, confirm, jobs, quiet)
    except KeyboardInterrupt:
        if not found:
            raise
    (_, start), *_ = ranked(found[:1])
    (chosen, figures), *_ = ranked(found)
    if confirmation is not None:
        chosen, figures, start = confirmation.chosen, confirmation.best, confirmation.start
    return Tuned(
        config=config,
        objective=config.objective,
        space=Space(knob_ranges(config)),
        trials=found,
        chosen=chosen,
        figures=figures,
        start_figures=start,
        confirmation=confirmation,
    )


def _search(found: list[Trial], config: Config, trials: int, jobs: int, quiet: bool) -> None:
    """Adds to ``found`` trial by trial, so that those before an interrupt are there after it."""
    with progress("trying settings", trials, quiet=quiet) as advance:
        for trial in search(config, judge, trials=trials, jobs=jobs):
            found.append(trial)
            (_, best), *_ = ranked(found)
            cost = number(best.busy_s_per_1000)
            advance(1, f"best {number(best.latency_ms)} ms, {cost} s busy per 1,000")


def _confirm(found: list[Trial], replications: int, jobs: int, quiet: bool) -> Confirmation:
    finalists = min(5, len(found) - 1) + 2
    with progress("trying the best again", finalists * replications, quiet=quiet) as advance:
        return confirm_best(found, judge, replications=replications, jobs=jobs, told=advance)
