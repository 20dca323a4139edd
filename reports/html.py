"""The report: one HTML file that needs nothing beside it, for one run or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from configs.atomic import write_text
from reports import numbers
from reports.breakdown import Breakdown, breakdowns
from reports.compare import Comparison, compare
from reports.definitions import DEFINITIONS
from reports.figures import latency as latency_figures
from reports.figures import stages as stage_figures
from reports.figures import validation as validation_figures
from reports.figures.style import with_prefix
from reports.headline import Headline, headline, validation_headline
from reports.invariants import check
from reports.metrics import Metrics
from reports.percentiles import NS_PER_MS
from reports.quality import ndcg_of_each
from reports.run import Run
from reports.timeline import Floats, timeline
from reports.totals import latencies_ns
from reports.validation import Sample, Validation


@dataclass(frozen=True, slots=True)
class RunPart:
    """What the page says of one run."""

    run: Run
    metrics: Metrics
    headline: Headline
    breakdown: Markup
    batch_sizes: Markup
    over_time: Markup
    config: str
    facts: tuple[tuple[str, str], ...]
    violations: tuple[str, ...]


def render(runs: Sequence[Run], validation: Validation | None = None) -> str:
    """The page for these runs, the first as the baseline of comparisons.

    Raises ValueError without a run and without a validation.
    """
    if not runs and validation is None:
        raise ValueError("a report needs at least one run, not 0")
    runs = _distinct(runs)
    embed = embedder()
    parts = _run_parts(runs, embed)
    return (
        environment()
        .get_template("report.html")
        .render(
            title=_title(runs),
            parts=parts,
            comparison=compare(runs) if runs else None,
            latency=embed(_latency_figure(runs)) if runs else "",
            quantiles=_quantile_figure(runs, validation, embed),
            errors=embed(validation_figures.errors(validation)) if validation else "",
            validation=validation,
            validation_headline=validation_headline(validation) if validation else "",
            definitions=DEFINITIONS,
        )
    )


def write_report(path: Path, runs: Sequence[Run], validation: Validation | None = None) -> None:
    """Write the page, whole or not at all. Raises ValueError as :func:`render`, OSError."""
    write_text(path, render(runs, validation))


def _title(runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(run.name for run in runs))
    return " · ".join(names) if names else "Validation"


def embedder() -> Callable[[str], Markup]:
    """Puts figures into one page, each with ids of its own."""
    number = iter(range(1, 1_000_000))

    def embed(svg: str) -> Markup:
        # Our own figures, whose texts the SVG writer has escaped.
        return Markup(with_prefix(svg, f"f{next(number)}-"))  # noqa: S704

    return embed


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """The runs with names that differ: a second one of a name is numbered."""
    seen: dict[str, int] = {}
    found = []
    for run in runs:
        seen[run.name] = seen.get(run.name, 0) + 1
        number = seen[run.name]
        found.append(run if number == 1 else replace(run, name=f"{run.name} ({number})"))
    return found


def _run_parts(runs: Sequence[Run], embed: Callable[[str], Markup]) -> list[RunPart]:
    """All runs, their bars on one scale."""
    spent = [breakdowns(run.log, run.warmup_ns) for run in runs]
    reach = tuple(
        max((group.longest for group in side), default=0.0) for side in zip(*spent, strict=True)
    )
    return [_run_part(run, pair, reach, embed) for run, pair in zip(runs, spent, strict=True)]


def _run_part(
    run: Run,
    spent: tuple[Breakdown, Breakdown],
    reach: Sequence[float],
    embed: Callable[[str], Markup],
) -> RunPart:
    metrics = run.measure()
    everyone, slowest = spent
    sizes = [
        (stage.name, logged.max_batch, stage.batch_sizes)
        for stage, logged in zip(metrics.stages, run.log.stages, strict=True)
    ]
    return RunPart(
        run=run,
        metrics=metrics,
        headline=headline(run, metrics, everyone),
        breakdown=embed(stage_figures.breakdown(everyone, slowest, reach)),
        batch_sizes=embed(latency_figures.batch_sizes(sizes)),
        over_time=embed(stage_figures.over_time(timeline(run.log, ndcg=_ndcg(run)))),
        config=_yaml(run.config) if run.config else "",
        facts=_facts(run, metrics),
        violations=tuple(check(run.log)),
    )


def _ndcg(run: Run) -> Floats | None:
    """Of each answer, as predicted; None where nothing tells, or all were served alike."""
    predicted = None if run.quality is None else run.quality.predicted
    if predicted is None or len(predicted.parts) < 2:
        return None
    return ndcg_of_each(predicted, run.log)


def _facts(run: Run, metrics: Metrics) -> tuple[tuple[str, str], ...]:
    """Where the numbers come from."""
    shown = {"engine", "seed", "clock", "name"}
    facts = [
        ("engine", metrics.engine),
        ("clock", "wall" if run.real else "virtual"),
        ("seed", numbers.NONE if metrics.seed is None else str(metrics.seed)),
        ("recorded", run.created or "not recorded"),
        ("length", f"{numbers.figure(run.log.end_ns / 1e9)} s"),
        ("warm-up cut", f"{numbers.figure(metrics.warmup_s)} s"),
        *(
            (str(key).replace("_", " "), _plain(v))
            for key, v in run.log.info.items()
            if key not in shown
        ),
    ]
    if run.versions:
        facts.append(("versions", ", ".join(f"{k} {v}" for k, v in run.versions.items())))
    return tuple(facts)


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n...\n").strip()


def _yaml(config: object) -> str:
    text: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=90)
    return text


def _latency_figure(runs: Sequence[Run]) -> str:
    goals = {run.objective.latency_ns for run in runs if run.objective is not None}
    goal = next(iter(goals)) / NS_PER_MS if len(goals) == 1 else None
    curves = [latency_figures.Curve(run.name, latencies_ns(run.log, run.warmup_ns)) for run in runs]
    return latency_figures.latency(curves, goal)


def _quantile_figure(
    runs: Sequence[Run], validation: Validation | None, embed: Callable[[str], Markup]
) -> Markup:
    """Simulated against real: the scenarios of a validation, or the runs at hand of both kinds."""
    panels: list[tuple[str, Sample, Sequence[tuple[str, Sample]]]] = []
    if validation is not None:
        panels = [
            (each.name, each.real, (("predicted", each.predicted), ("replayed", each.replayed)))
            for each in validation.scenarios
        ]
    else:
        samples = [(run, Sample.of(latencies_ns(run.log, run.warmup_ns))) for run in runs]
        simulated = [(run.name, sample) for run, sample in samples if not run.real]
        if simulated:
            panels = [(run.name, sample, simulated) for run, sample in samples if run.real]
    if not panels:
        return Markup()
    return embed(validation_figures.quantiles(panels))


@cache
def environment() -> Environment:
    """The templates of this room, with the filters that they use."""
    found = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.filters.update(
        figure=numbers.figure, count=numbers.count, percent=numbers.percent, change=numbers.change
    )
    found.globals["key_rows"] = _key_rows
    return found


def _key_rows(comparison: Comparison) -> list[object]:
    """The rows that are of the whole run; those of stages have a table of their own."""
    return [row for row in comparison.rows if ": " not in row.metric]
