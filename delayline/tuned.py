"""The outcome of tuning: as an object, and as a configuration to run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from configs.atomic import write_text
from configs.dump import SCHEMA_LINE, dump_config
from configs.model import Config, ObjectiveConfig
from configs.units import format_duration
from delayline.tables import number
from sim.statistics import Interval
from sim.tuning.confirm import Confirmation
from sim.tuning.score import Figures
from sim.tuning.search import Search, Trial
from sim.tuning.space import Space, with_setting


@dataclass(frozen=True, slots=True)
class Tuned:
    """Trials, the chosen one, and how sure it is."""

    config: Config
    """The configuration as it was given, with its own length of run."""
    search: Search
    """What was searched, and how."""
    space: Space
    study: str | None
    """Name of the study where it is kept in a storage."""
    trials: Sequence[Trial]
    chosen: Trial
    figures: Figures
    """The chosen setting's figures: on fresh replications, or of its trial where it was interrupted."""
    start_figures: Figures
    """The start's figures on the same replications."""
    confirmation: Confirmation | None
    """None where tuning was interrupted before."""

    @property
    def objective(self) -> ObjectiveConfig:
        """What was tuned for."""
        if self.search.config.objective is None:
            raise ValueError("objective is not set")
        return self.search.config.objective

    @property
    def best(self) -> Config:
        """The configuration with the chosen setting."""
        return with_setting(self.config, self.chosen.setting)

    @property
    def refused(self) -> int:
        """How many settings the configuration did not allow."""
        return sum(trial.figures is None for trial in self.trials)

    @property
    def cut_short(self) -> int:
        """How many settings were left behind after a part of a run."""
        return sum(trial.part > 1 for trial in self.trials)

    def goal(self) -> str:
        """The objective in words."""
        return f"p{self.objective.percentile:g} within {format_duration(self.objective.latency_ns)}"

    def told(self) -> str:
        """What came of it, in one sentence."""
        found = self.confirmation
        if found is None:
            again = "; the same command goes on from here" if self.study else ""
            return (
                "interrupted: the setting is the best so far, not confirmed on fresh replications"
                + again
            )
        if found.chosen is self.trials[0]:
            return "no setting was found that is better than the start"
        interval = found.cost if found.decided_by == "cost" else found.latency_ms
        what = self.search.cost.label if found.decided_by == "cost" else "latency in ms"
        change = "" if interval is None else f" ({what}: {_change(interval)})"
        if found.better:
            return f"better than the start{change}"
        return f"not surely better than the start{change}"


def cost_number(tuned: Tuned, cost: float) -> str:
    """A cost as tables have it; replicas are whole."""
    whole = tuned.search.cost.name == "paid" and cost == int(cost)
    return number(int(cost) if whole else cost)


def write_tuned(path: str | os.PathLike[str], tuned: Tuned) -> None:
    """Write the configuration with the chosen setting; ``run``, ``simulate`` and ``plan`` take it as it is.

    What was searched and what came of it stands in its first lines, and under ``provenance``.
    """
    path = Path(path)
    folder = path.absolute().parent
    schema = SCHEMA_LINE.format("schema.json")
    config = replace(tuned.best, provenance={"tuned": provenance(tuned)})
    text = dump_config(config, folder).removeprefix(schema)
    first = schema if (folder / "schema.json").exists() else ""
    shown = tuned.space.shown(tuned.chosen.setting)
    start = tuned.space.shown(tuned.trials[0].setting)
    unit = tuned.search.cost.unit
    lines = [
        f"Tuned for {tuned.goal()}: {len(tuned.trials)} trials, sampler {tuned.search.sampler},"
        f" seed {tuned.config.seed}.",
        *(f"{name}: {start.get(name, 'not there')} -> {value}" for name, value in shown.items()),
        f"Reached {number(tuned.figures.latency_ms)} ms"
        f" (start: {number(tuned.start_figures.latency_ms)} ms),"
        f" {cost_number(tuned, tuned.figures.cost)} {unit}"
        f" (start: {cost_number(tuned, tuned.start_figures.cost)}).",
        f"{tuned.told()[0].upper()}{tuned.told()[1:]}.",
    ]
    comment = "".join(f"# {line}\n" for line in lines)
    write_text(path, first + comment + text)


def provenance(tuned: Tuned) -> dict[str, Any]:
    """How the setting was found, in plain values: enough to find it again."""
    search = tuned.search
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("delayline", "optuna", "numpy")},
        "seed": tuned.config.seed,
        "batch": search.batch,
    }
    if search.config.workload.requests is not None:
        found["requests"] = search.config.workload.requests
    return {**found, **tuned_json(tuned)}


def tuned_json(tuned: Tuned) -> dict[str, Any]:
    """The object of ``tune --json``, without ``config``, ``figure`` and ``wall_s``."""
    found = tuned.confirmation
    search = tuned.search
    return {
        "objective": {
            "latency_ms": tuned.objective.latency_ns / 1e6,
            "percentile": tuned.objective.percentile,
        },
        "goals": list(search.goals),
        "cost": {"name": search.cost.name, "unit": search.cost.label},
        "sampler": search.sampler,
        "study": tuned.study,
        "parts": [f"1/{part}" for part in search.parts],
        "trials": len(tuned.trials),
        "refused": tuned.refused,
        "cut_short": tuned.cut_short,
        "start": _side(tuned, tuned.trials[0], tuned.start_figures),
        "best": _side(tuned, tuned.chosen, tuned.figures),
        "confirmed": found and _confirmed(found),
        "front": [
            {
                **_side(tuned, point.trial, point.figures),
                "latency_interval_ms": _interval(point.latency_ms),
                "cost_interval": _interval(point.cost),
                **({"lost_interval": _interval(point.lost)} if "quality" in search.goals else {}),
            }
            for point in (found.front if found else ())
        ],
    }


def _confirmed(found: Confirmation) -> dict[str, Any]:
    return {
        "replications": found.replications,
        "decided_by": found.decided_by,
        "better": found.better,
        "latency_ms": found.latency_ms and _interval(found.latency_ms),
        "cost": _interval(found.cost),
    }


def _side(tuned: Tuned, trial: Trial, figures: Figures) -> dict[str, Any]:
    latency_ms = figures.latency_ms
    setting: Mapping[str, Any] = tuned.space.shown(trial.setting)
    return {
        "trial": trial.number,
        "setting": dict(setting),
        "latency_ms": latency_ms if math.isfinite(latency_ms) else None,
        "unanswered": figures.unanswered,
        "cost": figures.cost,
        **({"lost": figures.lost} if "quality" in tuned.search.goals else {}),
    }


def _interval(found: Interval) -> dict[str, float]:
    return {"estimate": found.estimate, "low": found.low, "high": found.high}


def _change(found: Interval) -> str:
    if found.low == found.high:
        return f"{found.estimate:+.3g}"
    return f"{found.estimate:+.3g}, 95% interval {found.low:+.3g} to {found.high:+.3g}"
