"""``delayline demo``: the main job from end to end, on data of its own or on yours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from delayline import options
from delayline.commands.train import InteractionsFolder
from delayline.console import print_json, results, say
from delayline.errors import INTERRUPTED
from delayline.tables import number, plain_table, told
from reports.objective import attainment, reached_ms
from reports.run import Run

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

LATENCIES = ("mean", "p50", "p95", "p99", "max")


def demo(
    interactions: InteractionsFolder = None,
    trace: TraceFile = None,
    trace_column: TraceColumn = None,
    out: DemoFolder = Path("runs/demo"),
    artifacts: Artifacts = Path("artifacts"),
    seconds: Seconds = 10.0,
    trials: Trials = 30,
    seed: DemoSeed = 1,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a small recommender, profile it, tune its holds, run it for real, and report.

    Everything is kept: the weights, the profile, the tuned configuration, the records and the report,
    whose path is the last line printed. Weights of an earlier demo are used again. Ctrl-C keeps what is
    finished.
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
    try:
        done = run_demo(plan, (lambda _: None) if quiet else say)
    except KeyboardInterrupt:
        say(f"interrupted: what is finished is in {artifacts} (weights) and {out}")
        raise typer.Exit(INTERRUPTED) from None
    wall_s = time.perf_counter() - began_s
    if json:
        print_json({**_figures(done), "wall_s": wall_s})
        return
    _print(results(), done)
    results().print(f"done in {wall_s:.0f} s; open {done.report}", soft_wrap=True)


def _runs(done: Demo) -> Iterator[tuple[str, Run]]:
    """The runs by name, in the order in which they are shown."""
    yield "real", done.held.real
    yield "repeat", done.held.repeat
    yield "predicted", done.held.predicted
    yield "replayed", done.held.replayed
    yield "real, no holds", done.unheld


def _row(run: Run) -> dict[str, float | None]:
    """Latencies in milliseconds, and what they cost."""
    metrics = run.measure()
    busy_ms = 1e3 * sum(stage.busy_s for stage in metrics.stages)
    return {
        **{name: metrics.latency.get(name) for name in LATENCIES},
        "batches": sum(stage.batches for stage in metrics.stages),
        "busy_ms_per_request": busy_ms / metrics.completed if metrics.completed else None,
    }


def _figures(done: Demo) -> dict[str, object]:
    """The object of ``--json``, without ``wall_s``."""
    return {
        "rate_rps": done.rate_hz,
        "capacity_rps": done.profiled.capacity_hz,
        "quality": done.evaluation.to_json(),
        "runs": {name: _row(run) for name, run in _runs(done)},
        "validation": done.held.scenario.to_json(),
        "report": str(done.report),
    }


def _print(console: Console, done: Demo) -> None:
    console.print()
    table = plain_table("latency, ms", *LATENCIES, "batches", "busy ms\na request")
    for name, run in _runs(done):
        table.add_row(name, *map(number, _row(run).values()))
    console.print(table)
    console.print()
    console.print(f"objective: {_reached(done.held.real)}", soft_wrap=True)
    console.print(f"without holds: {_reached(done.unheld)}", soft_wrap=True)
    busy = [number(_row(run)["busy_ms_per_request"]) for run in (done.held.real, done.unheld)]
    console.print("cost: {} ms busy a request; without holds {} ms".format(*busy))
    console.print(
        f"the prediction is off by {_errors(done, 'predicted')};"
        f" a second real run by {_errors(done, 'repeat')};"
        f" the replay of the run's own batch times by {_errors(done, 'replayed')}",
        soft_wrap=True,
    )
    console.print()


def _reached(run: Run) -> str:
    return told(attainment(run.objective, [reached_ms(run)]) if run.objective else None)


def _errors(done: Demo, source: str) -> str:
    """How far p50 and p99 lie from those of the real run."""
    errors = done.held.scenario.errors_pct(source)
    shown = (
        f"{error:+.1f}%" if (error := errors[name]) is not None else "–" for name in ("p50", "p99")
    )
    return "{} (p50) and {} (p99)".format(*shown)
