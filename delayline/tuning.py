"""Tuning from end to end: search, choose on fresh replications, and keep what there is when stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

from configs.errors import nearest
from configs.model import Config
from configs.tuning import tunables
from delayline.console import progress
from delayline.errors import CommandError
from delayline.judging import Loss, judge_for
from delayline.quality import quality_model
from delayline.tables import number
from delayline.tuned import Tuned
from sim.backends.base import Backend
from sim.backends.choose import backend_for
from sim.tuning.confirm import Confirmation
from sim.tuning.confirm import confirm as confirm_best
from sim.tuning.costs import CostName, cost_of
from sim.tuning.evaluate import Evaluator, shared_workload
from sim.tuning.halving import parts_for, requests_beyond
from sim.tuning.samplers import SamplerName, sampler_for
from sim.tuning.score import GOALS, Figures, Scale
from sim.tuning.search import BATCH, Search, Trial, ranked, search
from sim.tuning.space import Space


def tune(
    config: Config,
    *,
    trials: int = 60,
    requests: int | None = None,
    confirm: int = 8,
    sampler: SamplerName | None = None,
    goals: Sequence[str] = (),
    cost: CostName | None = None,
    batch: int = BATCH,
    halving: bool | None = None,
    storage: str | None = None,
    study: str | None = None,
    jobs: int = 1,
    backend: Backend | None = None,
    quiet: bool = True,
) -> Tuned:
    """Tune the knobs under ``tune`` of a configuration for its objective.

    ``trials`` settings are tried, the configuration itself first, in simulations of ``requests``
    requests (default: as configured), ``batch`` of them asked for at once from a ``sampler`` (default:
    ``tpe``, ``nsga2`` for several goals), on short runs first where ``halving`` says so (None: where a
    short run can tell the percentile). The best are tried again on ``confirm`` fresh replications (see
    :func:`sim.tuning.confirm.confirm`). Nothing of the outcome hangs on ``backend``, or on the ``jobs``
    workers of this machine that there are without one.

    Without ``goals`` the objective comes first and then the ``cost`` (None: what is paid if a knob
    changes that, else the time that replicas are busy); with them, ``latency``, ``cost`` and the loss of
    ``quality`` are each made small for their own sake. ``storage`` is the URL of a storage of Optuna's,
    where ``study`` (default: the configuration's name) is kept trial by trial, and goes on where it was.
    Ctrl-C ends it early with the best so far.

    Raises CommandError without an objective or a knob to tune, and for what cannot be tuned for;
    StorageError (a ValueError) for a storage that cannot be used or a study that is of something else.
    """
    asked = _asked(config, requests, sampler, tuple(goals), cost, batch, halving)
    found: list[Trial] = []
    confirmation = None
    with nullcontext(backend) if backend else backend_for(asked.config, jobs) as workers:
        try:
            for trial in _search(asked, workers, trials, storage, study, quiet):
                found.append(trial)
            confirmation = _confirm(asked, found, confirm, workers, quiet)
        except KeyboardInterrupt:
            if not found:
                raise
    start = figures_of(found[0])
    (chosen, figures), *_ = ranked(found, asked.scale(start))
    if confirmation is not None:
        chosen, figures, start = confirmation.chosen, confirmation.best, confirmation.start
    return Tuned(
        config=config,
        search=asked,
        space=asked.space(),
        study=(study or config.name) if storage else None,
        trials=found,
        chosen=chosen,
        figures=figures,
        start_figures=start,
        confirmation=confirmation,
    )


def _asked(
    config: Config,
    requests: int | None,
    sampler: SamplerName | None,
    goals: tuple[str, ...],
    cost: CostName | None,
    batch: int,
    halving: bool | None,
) -> Search:
    """The search that is asked for. Raises CommandError, ConfigError, ValueError."""
    if config.objective is None:
        raise CommandError(
            "objective is not set; tuning needs one, such as --set objective.latency=50ms"
        )
    if not config.tune:
        raise CommandError(
            "tune is empty; name a knob and its range, such as"
            " --set 'tune.stages.rank.policy.delay=[0ms, 10ms]'"
        )
    _check_goals(config, goals)
    if batch < 1:
        raise CommandError(f"batch must be 1 or more, not {batch}")
    short = config
    if requests is not None:
        short = replace(config, workload=replace(config.workload, requests=requests))
    knobs = tunables(short)
    workload = shared_workload(short, 0)
    percentile = config.objective.percentile
    if percentile < 100 and requests_beyond(short, workload) < 1 - 1e-9:
        after = " after the warm-up cut" if config.warmup != type(config.warmup)() else ""
        raise CommandError(
            f"p{percentile:g} cannot be told of {len(workload):,} requests: fewer than one of them lies"
            f" beyond it{after}; ask for more --requests"
        )
    return Search(
        config=short,
        cost=cost_of(short, knobs, cost),
        sampler=sampler_for(Space(knobs), goals, sampler),
        goals=goals,
        batch=batch,
        parts=parts_for(short, workload, halving),
    )


def _check_goals(config: Config, goals: tuple[str, ...]) -> None:
    for goal in goals:
        if goal not in GOALS:
            raise CommandError(f"there is no goal `{goal}`; {nearest(goal, GOALS, called='goals')}")
        if goals.count(goal) > 1:
            raise CommandError(f"goals name {goal} twice")
    if "quality" in goals and config.quality is None:
        raise CommandError(
            "quality is a goal and the configuration names no quality table; make one by `delayline evaluate"
            " CONFIG --out FILE` and set quality.path to it"
        )
    if goals == ("quality",):
        raise CommandError(
            "quality alone is best where nothing is saved; ask for latency,quality or latency,cost,quality"
        )
    if goals == ("cost",):
        raise CommandError(
            "cost alone is least where requests wait for ever; leave goals out to make it small within"
            " the objective, or ask for latency,cost"
        )


def _search(
    asked: Search,
    backend: Backend,
    trials: int,
    storage: str | None,
    study: str | None,
    quiet: bool,
) -> Iterator[Trial]:
    best: Figures | None = None
    scale: Scale | None = None
    with progress("trying settings", trials, quiet=quiet) as advance:
        judge = judge_for(asked.cost, _loss(asked))
        for trial in search(
            asked, judge, backend, trials=trials, storage=storage, study=study or ""
        ):
            yield trial
            if scale is None:
                scale = asked.scale(figures_of(trial))
            if trial.figures is not None and trial.part == 1:
                best = min(best or trial.figures, trial.figures, key=scale.order)
            advance(1, "" if best is None else f"best {_short(asked, best)}")


def _short(asked: Search, figures: Figures) -> str:
    return f"{number(figures.latency_ms)} ms, {number(figures.cost)} {asked.cost.unit}"


def _loss(asked: Search) -> Loss | None:
    """By what quality is told, where it is a goal. Raises QualityError, also for widths that are tuned and
    were not measured.
    """
    model = quality_model(asked.config) if "quality" in asked.goals else None
    if model is None:
        return None
    for knob in asked.space().knobs:
        model.check_tuned(knob)
    return Loss(model, model.full_service(asked.config.keeps()))


def figures_of(start: Trial) -> Figures:
    """The figures of the start, which always has some."""
    if start.figures is None:
        raise ValueError("the start has no figures")
    return start.figures


def _confirm(
    asked: Search,
    found: Sequence[Trial],
    replications: int,
    backend: Backend,
    quiet: bool,
) -> Confirmation:
    scale = asked.scale(figures_of(found[0]))
    finalists = min(5, len(ranked(found, scale)) - 1) + 2
    with progress("trying the best again", finalists * replications, quiet=quiet) as advance:
        evaluator = Evaluator(judge_for(asked.cost, _loss(asked)), backend, advance)
        return confirm_best(found, scale, evaluator, replications=replications)
