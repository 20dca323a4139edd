"""``delayline run``: a pipeline on real torch workers."""

from __future__ import annotations

import time

import typer

from delayline import options
from delayline.console import counts, print_json, progress, results, say
from delayline.errors import INTERRUPTED
from delayline.loading import load_config
from delayline.notes import real_notes
from delayline.quality import quality_model
from delayline.quality_told import print_quality
from delayline.runs import check_run_target, run_of, write_run
from delayline.tables import print_summary
from reports.objective import attainment, reached_ms
from reports.replicated import Replicated


def run(
    config_file: options.ConfigFile,
    sets: options.Sets = None,
    seed: options.Seed = None,
    out: options.Out = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a pipeline on torch workers, under its arrivals in real time.

    Prints what simulate prints, measured. Latency counts from the time at which a request was to be sent.
    --out records the run. Ctrl-C stops sending and keeps what has ended.
    """
    from delayline.real import (
        brought_up,
        check_profiles,
        profiles_are_there,
        run_judged,
        run_real,
    )
    from sim.simulate import workload_of

    config = load_config(config_file, options.as_overrides(sets, seed=seed))
    workload = workload_of(config)
    check_profiles(config)
    judge = quality_model(config)
    quality = None
    profiled = profiles_are_there(config)
    if out is not None:
        check_run_target(out)
    began_s = time.perf_counter()
    with (
        brought_up(config, quiet=quiet) as executor,
        progress("running", len(workload), quiet=quiet) as advance,
    ):
        if judge is None:
            log = run_real(config, executor, workload, counts(advance))
        else:
            log, quality = run_judged(config, executor, workload, judge, counts(advance))
    wall_s = time.perf_counter() - began_s
    done = run_of(config, log, quality)
    figures = Replicated((done.measure(),))
    if out is not None:
        write_run(out, done)
    if json:
        told = {} if quality is None else {"quality": quality.to_json()}
        print_json({**figures.to_json(), **told, "wall_s": wall_s})
    else:
        console = results()
        reached = attainment(done.objective, [reached_ms(done)]) if done.objective else None
        print_summary(console, config.name, figures, reached)
        print_quality(console, quality)
        console.print(f"ran in {wall_s:.1f} s" + (f", recorded in {out}" if out else ""))
    if not quiet:
        for note in real_notes(config, log, profiled=profiled):
            say(f"note: {note}")
    if log.info.get("interrupted"):
        say("interrupted: the figures are of the requests that had been sent")
        raise typer.Exit(INTERRUPTED)
