"""How the compiled driver's cost grows: with requests, with stages, with replicas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.pipelines import chain, open_workload, pipeline4
from benchmarks.table import Measured, Row
from benchmarks.timing import Contender, Spread, race
from configs.model import Config
from policies.runlog import RunLog
from sim.simulate import simulate

REQUESTS = (1_000_000, 2_000_000, 4_000_000, 8_000_000)
STAGES = (1, 2, 4, 8, 16, 32)
REPLICAS = (1, 10, 100, 1_000, 10_000)
EACH = 2_000_000
ROUNDS = 5
NEAR = 0.15
"""How far a time may lie from the line."""


def measure() -> Measured:
    """The three tables."""
    by_requests = _table(REQUESTS, pipeline4)
    by_stages = _table(STAGES, lambda stages: chain(stages, 1, EACH))
    by_replicas = _table(REPLICAS, lambda replicas: chain(4, replicas, EACH))
    off = _off_line([(row["size"], row["seconds"]["median"]) for row in by_requests])
    stage_off = _off_line([(row["batches"], row["seconds"]["median"]) for row in by_stages])
    rows = (
        Row(
            "time by requests, " + ", ".join(f"{n / 1e6:g}" for n in REQUESTS) + " million",
            f"within {off:.0%} of a line through nothing",
            f"within {NEAR:.0%}",
            off <= NEAR,
        ),
        Row(
            "time by stages, " + ", ".join(map(str, STAGES)),
            _each(by_stages) + f"; within {stage_off:.0%} of a line in batches",
        ),
        Row(
            "time by replicas a stage, " + ", ".join(f"{n:,}" for n in REPLICAS),
            _each(by_replicas)
            + f", and {by_replicas[-1]['set_up_s'] * 1e3:.0f} ms to set up the last",
        ),
    )
    data = {"requests": by_requests, "stages": by_stages, "replicas": by_replicas, "off_line": off}
    return Measured(rows, data)


def _table(sizes: Sequence[int], config_of: Callable[[int], Config]) -> list[dict[str, Any]]:
    """Seconds in all and for setting up, and what remains by request and by batch; timed in turns."""
    contenders, batches = [], {}
    for size in sizes:
        config = config_of(size)
        workload = open_workload(config)

        def once(config: Config = config, workload: Any = workload) -> RunLog:
            return simulate(config, workload=workload, engine="compiled")

        batches[size] = sum(len(stage.batches.batch) for stage in once().stages)
        one = replace(config, workload=replace(config.workload, requests=1))
        set_up = partial(simulate, one, engine="compiled")
        contenders.append(Contender(f"{size}", once, len(workload)))
        contenders.append(Contender(f"set up {size}", set_up, requests=1))
    raced = race(contenders, ROUNDS)
    table = []
    for size, contender in zip(sizes, contenders[::2], strict=True):
        took_s = Spread.of([contender.requests / hz for hz in raced.rates_hz[contender.name]])
        set_up_s = 1 / raced.rate_hz(f"set up {size}").median
        running_ns = (took_s.median - set_up_s) * 1e9
        table.append(
            {
                "size": size,
                "requests": contender.requests,
                "batches": batches[size],
                "seconds": took_s.as_dict(),
                "set_up_s": set_up_s,
                "ns_a_request": running_ns / contender.requests,
                "ns_a_batch": running_ns / batches[size],
            }
        )
    return table


def _off_line(points: Sequence[tuple[int, float]]) -> float:
    """The greatest distance of a time from a line through nothing, as a share of the line.

    The line is the one for which that is least: halfway between the steepest and the flattest.
    """
    slopes = [took_s / size for size, took_s in points]
    low, high = min(slopes), max(slopes)
    return (high - low) / (high + low)


def _each(table: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{row['ns_a_batch']:.0f}" for row in table) + " ns a batch"
