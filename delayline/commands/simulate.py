"""``delayline simulate``: a pipeline under virtual time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from configs.model import Config
from delayline import options
from delayline.console import print_json, progress, results, say
from delayline.errors import INTERRUPTED
from delayline.loading import load_config
from delayline.notes import notes
from delayline.quality import QualityModel, quality_model
from delayline.quality_told import print_quality, quality_over
from delayline.recording import Recorder
from delayline.runs import run_of
from delayline.tables import print_summary
from reports.metrics import Metrics
from reports.objective import Attainment, attainment, reached_ms
from reports.quality import RunQuality
from reports.replicated import Replicated
from reports.run import Objective, Run
from sim.backends.base import Backend
from sim.backends.choose import backend_for
from sim.engines import Engine

Replications = Annotated[
    int | None,
    typer.Option(
        "--replications", "-n", min=1, help="Independent repetitions.", show_default=False
    ),
]


def simulate(
    config_file: options.ConfigFile,
    sets: options.Sets = None,
    replications: Replications = None,
    seed: options.Seed = None,
    jobs: options.Jobs = 1,
    backend: options.Backend = None,
    address: options.Address = None,
    engine: options.Engine = "auto",
    out: options.Out = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Simulate a pipeline and print its latency, its stages and its cost.

    With several replications every figure is their mean, with a 95% confidence interval. --out records
    the run; several replications go to DIR/rep-0, DIR/rep-1 and so on. Ctrl-C keeps the replications
    that are finished, in figures and in records.
    """
    given = options.as_overrides(sets, replications=replications, seed=seed)
    config = load_config(config_file, given)
    began_s = time.perf_counter()
    judge = quality_model(config)
    with backend_for(config, jobs, backend, address) as workers:
        found = _simulate(config, judge, workers, engine, out, quiet)
    wall_s = time.perf_counter() - began_s
    if not found.metrics:
        say("interrupted: no replication is finished")
        raise typer.Exit(INTERRUPTED)
    figures = Replicated(tuple(found.metrics))
    quality = quality_over(found.quality)
    if json:
        told = {} if judge is None else {"quality": quality and quality.to_json()}
        print_json({**figures.to_json(), **told, "engine_reason": found.reason, "wall_s": wall_s})
    else:
        console = results()
        print_summary(console, config.name, figures, found.attainment())
        print_quality(console, quality)
        console.print(f"simulated in {wall_s:.2f} s" + (f", recorded in {out}" if out else ""))
        if engine == "auto" and found.metrics[0].engine != "compiled":
            console.print(f"on the reference driver: {found.reason}", soft_wrap=True)
    if not quiet:
        for note in found.notes:
            say(f"note: {note}")
    if found.interrupted:
        say(f"interrupted: {len(found.metrics)} of {config.replications} replications are finished")
        raise typer.Exit(INTERRUPTED)


@dataclass(slots=True)
class _Finished:
    """What is kept of the replications that are finished: figures, not logs."""

    objective: Objective | None = None
    metrics: list[Metrics] = field(default_factory=list)
    quality: list[RunQuality] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reason: str = ""
    """Why the driver that ran did."""
    interrupted: bool = False

    def add(self, config: Config, run: Run, recorder: Recorder | None) -> None:
        """Take in the next replication; it counts in all of the figures or in none."""
        metrics = run.measure()
        reached = [] if run.objective is None else [reached_ms(run)]
        told = self.notes if self.metrics else list(notes(config, run.log))
        if recorder is not None:
            recorder.add(run)
        self.objective, self.notes = run.objective, told
        self.reason = str(run.log.info.get("engine_reason", ""))
        self.reached += reached
        if run.quality is not None:
            self.quality.append(run.quality)
        self.metrics.append(metrics)

    def attainment(self) -> Attainment | None:
        return None if self.objective is None else attainment(self.objective, self.reached)


def _simulate(
    config: Config,
    judge: QualityModel | None,
    workers: Backend,
    engine: Engine,
    out: Path | None,
    quiet: bool,
) -> _Finished:
    from sim.simulate import replications

    recorder = None if out is None else Recorder(out, config.replications)
    found = _Finished()
    try:
        with progress("simulating", config.replications, quiet=quiet) as advance:
            for log in replications(config, backend=workers, engine=engine):
                quality = None if judge is None else RunQuality(judge.predicted(config, log))
                found.add(config, run_of(config, log, quality), recorder)
                advance()
    except KeyboardInterrupt:
        found.interrupted = True
    return found
