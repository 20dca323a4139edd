"""The outcome of tuning: as a configuration to run, as an object, as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.atomic import write_text
from configs.dump import SCHEMA_LINE, dump_config
from configs.model import Config, ObjectiveConfig
from configs.units import format_duration
from delayline.tables import number, plain_table
from reports.numbers import NONE
from sim.statistics import Interval
from sim.tuning.confirm import Confirmation
from sim.tuning.score import Figures
from sim.tuning.search import Trial
from sim.tuning.space import Space, with_setting


@dataclass(frozen=True, slots=True)
class Tuned:
    """Trials, the chosen one, and how sure it is."""

    config: Config
    """The configuration as it was given, with its own length of run."""
    objective: ObjectiveConfig
    space: Space
    trials: Sequence[Trial]
    chosen: Trial
    figures: Figures
    """The chosen setting's figures: on fresh replications, or of its trial where it was interrupted."""
    start_figures: Figures
    """The start's figures on the same replications."""
    confirmation: Confirmation | None
    """None where tuning was interrupted before."""

    @property
    def best(self) -> Config:
        """The configuration with the chosen setting."""
        return with_setting(self.config, self.chosen.setting)

    def goal(self) -> str:
        """The objective in words."""
        return f"p{self.objective.percentile:g} within {format_duration(self.objective.latency_ns)}"

    def told(self) -> str:
        """What came of it, in one sentence."""
        found = self.confirmation
        if found is None:
            return (
                "interrupted: the setting is the best so far, not confirmed on fresh replications"
            )
        if found.chosen is self.trials[0]:
            return "no setting was found that is better than the start"
        interval = found.busy_s_per_1000 if found.decided_by == "cost" else found.latency_ms
        what = "busy seconds per 1,000" if found.decided_by == "cost" else "latency in ms"
        change = "" if interval is None else f" ({what}: {_change(interval)})"
        if found.better:
            return f"better than the start{change}"
        return f"not surely better than the start{change}"


def write_tuned(path: Path, tuned: Tuned) -> None:
    """Write the configuration with the chosen setting; ``run`` and ``simulate`` take it as it is."""
    folder = path.absolute().parent
    schema = SCHEMA_LINE.format("schema.json")
    text = dump_config(tuned.best, folder).removeprefix(schema)
    first = schema if (folder / "schema.json").exists() else ""
    shown = tuned.space.shown(tuned.chosen.setting)
    start = tuned.space.shown(tuned.trials[0].setting)
    lines = [
        f"Tuned for {tuned.goal()}: {len(tuned.trials)} trials, seed {tuned.config.seed}.",
        *(f"{name}: {start[name]} -> {value}" for name, value in shown.items()),
        f"Reached {number(tuned.figures.latency_ms)} ms"
        f" (start: {number(tuned.start_figures.latency_ms)} ms),"
        f" {number(tuned.figures.busy_s_per_1000)} s busy per 1,000 answers"
        f" (start: {number(tuned.start_figures.busy_s_per_1000)} s).",
        f"{tuned.told()[0].upper()}{tuned.told()[1:]}.",
    ]
    comment = "".join(f"# {line}\n" for line in lines)
    write_text(path, first + comment + text)


def tuned_json(tuned: Tuned) -> dict[str, object]:
    """The object of ``tune --json``, without ``config`` and ``wall_s``."""
    found = tuned.confirmation
    return {
        "objective": {
            "latency_ms": tuned.objective.latency_ns / 1e6,
            "percentile": tuned.objective.percentile,
        },
        "trials": len(tuned.trials),
        "refused": sum(trial.figures is None for trial in tuned.trials),
        "start": _side(tuned.space.shown(tuned.trials[0].setting), tuned.start_figures),
        "best": _side(tuned.space.shown(tuned.chosen.setting), tuned.figures),
        "confirmed": found
        and {
            "replications": found.replications,
            "decided_by": found.decided_by,
            "better": found.better,
            "latency_ms": found.latency_ms and _interval(found.latency_ms),
            "busy_s_per_1000": _interval(found.busy_s_per_1000),
        },
    }


def print_tuned(console: Console, tuned: Tuned) -> None:
    """The settings and figures, start and best side by side."""
    start, best = tuned.trials[0].setting, tuned.chosen.setting
    before, after = tuned.start_figures, tuned.figures
    console.print(f"{tuned.config.name}: {tuned.goal()}, {len(tuned.trials)} trials")
    console.print()
    table = plain_table("", "start", "best")
    for name in start:
        shown = (tuned.space.shown(start)[name], tuned.space.shown(best)[name])
        table.add_row(name, *(NONE if value is None else str(value) for value in shown))
    percentile = f"p{tuned.objective.percentile:g} latency, ms"
    table.add_row(percentile, number(before.latency_ms), number(after.latency_ms))
    cost = (before.busy_s_per_1000, after.busy_s_per_1000)
    table.add_row("busy seconds per 1,000 answers", *map(number, cost))
    if before.unanswered or after.unanswered:
        table.add_row("share not answered", number(before.unanswered), number(after.unanswered))
    console.print(table)
    console.print()
    console.print(tuned.told(), soft_wrap=True)


def _side(setting: Mapping[str, Any], figures: Figures) -> dict[str, object]:
    latency_ms = figures.latency_ms
    return {
        "setting": dict(setting),
        "latency_ms": latency_ms if math.isfinite(latency_ms) else None,
        "unanswered": figures.unanswered,
        "busy_s_per_1000": figures.busy_s_per_1000,
    }


def _interval(found: Interval) -> dict[str, float]:
    return {"estimate": found.estimate, "low": found.low, "high": found.high}


def _change(found: Interval) -> str:
    return f"{found.estimate:+.3g}, 95% interval {found.low:+.3g} to {found.high:+.3g}"
