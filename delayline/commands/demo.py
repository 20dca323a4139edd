"""``delayline demo``: the main job from end to end, on data of its own or on yours."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from delayline import options
from delayline.commands.train import InteractionsFolder
from delayline.console import print_json, results, say
from delayline.tables import number, plain_table

if TYPE_CHECKING:
    from delayline.demo import Demo

TraceFile = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Recorded arrivals (csv, csv.gz, parquet); generated ones if not given.",
        show_default=False,
    ),
]
TraceColumn = Annotated[
    str | None,
    typer.Option("--trace-column", help="The trace's column of times.", show_default=False),
]
DemoFolder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results.")]
Artifacts = Annotated[
    Path, typer.Option("--artifacts", metavar="DIR", help="Folder that keeps trained models.")
]
Seconds = Annotated[
    float, typer.Option("--seconds", min=1, max=600, help="Length of each real run.")
]
Trials = Annotated[int, typer.Option("--trials", "-t", min=1, help="Settings to try.")]
DemoSeed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all random numbers.")]


def demo(
    interactions: InteractionsFolder = None,
    trace: TraceFile = None,
    trace_column: TraceColumn = None,
    out: DemoFolder = Path("runs/demo"),
    artifacts: Artifacts = Path("artifacts"),
    seconds: Seconds = 12.0,
    trials: Trials = 30,
    seed: DemoSeed = 1,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a small recommender, profile it, tune its holds, run it for real, and report.

    Everything is kept: the weights, the profile, the tuned configuration, the records and the report,
    whose path is the last line printed.
    """
    from delayline.demo import DemoPlan, run_demo

    began_s = time.perf_counter()
    plan = DemoPlan(
        interactions=interactions,
        trace=trace,
        trace_column=trace_column,
        folder=out,
        artifacts=artifacts,
        run_s=seconds,
        trials=trials,
        seed=seed,
        quiet=quiet,
    )
    done = run_demo(plan, (lambda _: None) if quiet else say)
    wall_s = time.perf_counter() - began_s
    if json:
        print_json({**_figures(done), "wall_s": wall_s})
        return
    _print(done)
    results().print(f"done in {wall_s:.0f} s; open {done.report}", soft_wrap=True)


def _runs(done: Demo) -> dict[str, dict[str, float | None]]:
    found = {}
    for run in (done.real, done.predicted, done.replayed, done.unheld):
        metrics = run.measure()
        latency = {name: metrics.latency.get(name) for name in ("mean", "p50", "p95", "p99", "max")}
        batches = sum(stage.batches for stage in metrics.stages)
        busy_ms = 1e3 * sum(stage.busy_s for stage in metrics.stages)
        found[run.name] = {
            **latency,
            "batches": batches,
            "busy_ms_per_request": busy_ms / max(metrics.completed, 1),
        }
    return found


def _figures(done: Demo) -> dict[str, object]:
    return {
        "rate_rps": done.rate_hz,
        "capacity_rps": done.profiled.capacity_hz,
        "quality": done.evaluation.to_json(),
        "runs": _runs(done),
        "report": str(done.report),
    }


def _print(done: Demo) -> None:
    console = results()
    console.print()
    table = plain_table(
        "latency, ms", "mean", "p50", "p95", "p99", "max", "batches", "busy ms\na request"
    )
    for name, figures in _runs(done).items():
        table.add_row(name, *(number(value) for value in figures.values()))
    console.print(table)
    console.print()
